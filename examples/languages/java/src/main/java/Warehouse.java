import com.fasterxml.jackson.databind.ObjectMapper;
import com.rabbitmq.client.AMQP.BasicProperties;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.ShutdownSignalException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.OffsetDateTime;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.*;

/** A warehouse: reserves goods. The work first, the careful loop after it. */
@SuppressWarnings("unchecked") // what JSON holds
public class Warehouse {
    /** Does one task and returns the answer; what it throws is a failure. After a crash it may be done again. */
    static Map<String, Object> work(Map<String, Object> task) throws Exception {
        Map<String, Object> values = new HashMap<>();
        ((Map<String, Map<String, Object>>) task.get("variables")).forEach((name, one) -> values.put(name, one.get("value")));
        if (values.get("item") == null) throw new IllegalArgumentException("There is no variable item");
        int quantity = (int) values.get("quantity");
        if (quantity > 100) {
            String text = "There are not " + quantity + " of " + values.get("item");
            return Map.of("response_type", "bpmn_error", "error_code", "OUT_OF_STOCK", "error_message", text);
        }
        // Stands for work that takes long.
        Thread.sleep((long) (((Number) values.getOrDefault("seconds", 0)).doubleValue() * 1000));
        return Map.of("response_type", "complete", "variables", Map.of("reservation", quantity + " " + values.get("item")));
    }

    // --- The careful loop: one task at a time; start it twice to do two ---

    static final ObjectMapper JSON = new ObjectMapper();
    static final ExecutorService WORKER = Executors.newSingleThreadExecutor();
    static final Map<String, Future<Map<String, Object>>> IN_HAND = new HashMap<>(); // by message id
    static final CountDownLatch STOP = new CountDownLatch(1);
    static final CompletableFuture<Void> ENDED = new CompletableFuture<>();
    static volatile boolean isRefused;
    static int pause = 1; // seconds

    /** Serves on one connection until a stop, or throws; leaving it gives back to the queue what has no answer. */
    static void serve() throws Exception {
        ConnectionFactory factory = new ConnectionFactory();
        factory.setUri(System.getenv("AMQP_URL"));
        factory.setAutomaticRecoveryEnabled(false); // the loop in main does it, for the first connection too
        try (var connection = factory.newConnection()) {
            Channel channel = connection.createChannel();
            BlockingQueue<Delivery> messages = new LinkedBlockingQueue<>();
            channel.confirmSelect();
            channel.addReturnListener(answer -> isRefused = true); // no queue takes it; the confirm comes after this
            channel.basicQos(1);
            channel.basicConsume("warehouse.queue", false, (tag, one) -> messages.add(one), tag -> channel.abort());
            pause = 1;
            isRefused = false;
            while (STOP.getCount() > 0) {
                Delivery message = messages.poll(200, TimeUnit.MILLISECONDS);
                if (message != null) take(channel, message);
                if (!channel.isOpen()) throw new IOException("the connection or the subscription is lost");
            }
        }
    }

    /** Answers a message, unless its lock is over: then the task comes again. */
    static void take(Channel channel, Delivery message) throws Exception {
        Map<String, Object> task = JSON.readValue(message.getBody(), Map.class);
        String id = message.getProperties().getMessageId();
        long left = OffsetDateTime.parse((String) task.get("lock_expires_at")).toInstant().toEpochMilli() - System.currentTimeMillis();
        if (left > 0) say(channel, task, answer(channel, id, task, left / 3));
        IN_HAND.remove(id); // not before: a lost connection brings the message again
        channel.basicAck(message.getEnvelope().getDeliveryTag(), false); // only now: the broker has the answer
    }

    /** Returns the answer, as before if the message came before; says all `beat` ms that the work goes on. */
    static Map<String, Object> answer(Channel channel, String id, Map<String, Object> task, long beat) throws Exception {
        Path file = Path.of("answers", id.replace(":", "-")); // Windows too takes such a name
        if (Files.exists(file)) return JSON.readValue(file.toFile(), Map.class);
        var job = IN_HAND.computeIfAbsent(id, none -> WORKER.submit(() -> answerOf(task)));
        while (true) {
            try {
                var answer = job.get(beat, TimeUnit.MILLISECONDS);
                if (!answer.get("response_type").equals("failure")) { // what has failed is done again
                    Files.write(Path.of("answer.new"), JSON.writeValueAsBytes(answer));
                    Files.move(Path.of("answer.new"), file, StandardCopyOption.ATOMIC_MOVE); // whole, or not there
                }
                return answer;
            } catch (TimeoutException stillWorking) {
                say(channel, task, Map.of("response_type", "extend_lock"));
            }
        }
    }

    /** Returns the answer to a task, whatever happens. Without `retries` the worker counts down. */
    static Map<String, Object> answerOf(Map<String, Object> task) {
        System.out.println(task.get("task_id") + " begins");
        try {
            return work(task);
        } catch (Exception error) {
            return Map.of("response_type", "failure", "error_message", error.toString());
        }
    }

    /** Publishes an answer: returns when the broker has it, else throws. */
    static void say(Channel channel, Map<String, Object> task, Map<String, Object> answer) throws Exception {
        Map<String, Object> body = new HashMap<>(answer);
        for (var name : List.of("task_id", "attempt", "worker_id")) body.put(name, task.get(name));
        var kept = new BasicProperties.Builder().deliveryMode(2).correlationId((String) task.get("task_id")).build();
        channel.basicPublish("camunda.task.responses", "camunda.responses.queue", true, kept, JSON.writeValueAsBytes(body));
        channel.waitForConfirmsOrDie(60_000);
        if (isRefused) throw new IOException("no queue takes answers");
        System.out.println(task.get("task_id") + " " + answer.get("response_type") + " " + answer.get("error_message"));
    }

    public static void main(String[] args) throws Exception {
        Files.createDirectories(Path.of("answers"));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> { // SIGTERM
            STOP.countDown();
            ENDED.join();
            Runtime.getRuntime().halt(0); // else it is 143
        }));
        while (STOP.getCount() > 0) {
            try {
                serve();
            } catch (IOException | ShutdownSignalException | TimeoutException error) {
                System.out.println("no broker, trying again in " + pause + " s: " + error + ", " + error.getCause());
                STOP.await(pause, TimeUnit.SECONDS);
                pause = Math.min(2 * pause, 30);
            }
        }
        ENDED.complete(null);
    }
}
