import com.fasterxml.jackson.databind.ObjectMapper;
import com.rabbitmq.client.*;
import java.time.OffsetDateTime;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;

/** A system in Java: does each task of a queue once and answers it, until SIGTERM. */
public class Main {
    static final String EXCHANGE = "camunda.task.responses";
    static final String ANSWERS = "camunda.responses.queue";
    static final ObjectMapper JSON = new ObjectMapper();

    /** By task; a real system keeps its final answers in its database. */
    static final Map<String, Map<String, Object>> answered = new ConcurrentHashMap<>();

    static final CountDownLatch stop = new CountDownLatch(1);
    static final Object inHand = new Object(); // held while a task is worked on

    interface Sayer {
        void say(Map<String, Object> answer) throws Exception;
    }

    /** The work itself; a heartbeat: say(Map.of("response_type", "extend_lock", "lock_duration", 600_000)). */
    static Map<String, Object> work(Map<String, Object> task, Sayer sayer) throws Exception {
        return Map.of("response_type", "complete", "variables", Map.of("done_by", "java"));
    }

    static Map<String, Object> answerOf(Map<String, Object> task, Sayer sayer) {
        String id = (String) task.get("task_id");
        if (answered.containsKey(id)) return answered.get(id);
        try {
            Map<String, Object> answer = work(task, sayer);
            System.out.println("done " + id);
            answered.put(id, answer);
            return answer;
        } catch (Exception error) {
            return Map.of("response_type", "failure", "error_message", error.toString(), "retry_timeout", 30_000);
        }
    }

    /** Returns when the broker has the answer in a queue; throws where it has not. */
    static void publish(Channel channel, AtomicBoolean returned, Map<String, Object> task, Map<String, Object> answer)
            throws Exception {
        Map<String, Object> whole = new HashMap<>(answer);
        for (String name : new String[] {"task_id", "attempt", "worker_id"}) whole.put(name, task.get(name));
        String id = (String) task.get("task_id");
        var persistent = new AMQP.BasicProperties.Builder().deliveryMode(2).correlationId(id).build();
        channel.basicPublish(EXCHANGE, ANSWERS, true, persistent, JSON.writeValueAsBytes(whole));
        channel.waitForConfirmsOrDie(60_000);
        if (returned.get()) throw new IllegalStateException("no queue takes answers");
    }

    static void take(Channel channel, AtomicBoolean returned, byte[] body) throws Exception {
        @SuppressWarnings("unchecked")
        Map<String, Object> task = JSON.readValue(body, Map.class);
        var lockEnd = OffsetDateTime.parse((String) task.get("lock_expires_at"));
        if (OffsetDateTime.now().isAfter(lockEnd)) return; // the task comes again
        Sayer sayer = answer -> publish(channel, returned, task, answer);
        sayer.say(answerOf(task, sayer));
    }

    static void serve(ConnectionFactory factory) throws Exception {
        try (Connection connection = factory.newConnection()) { // closing gives back what is not acknowledged
            var lost = new CountDownLatch(1);
            connection.addShutdownListener(cause -> lost.countDown());
            Channel channel = connection.createChannel();
            channel.addShutdownListener(cause -> lost.countDown());
            var returned = new AtomicBoolean();
            channel.addReturnListener(message -> returned.set(true)); // comes before the confirm
            channel.confirmSelect();
            channel.basicQos(4);
            DeliverCallback onMessage = (tag, delivery) -> {
                synchronized (inHand) {
                    if (stop.getCount() == 0) return;
                    try {
                        take(channel, returned, delivery.getBody());
                        channel.basicAck(delivery.getEnvelope().getDeliveryTag(), false);
                    } catch (Exception error) {
                        System.err.println(error);
                        lost.countDown();
                    }
                }
            };
            channel.basicConsume(env("QUEUE", "default.queue"), false, onMessage, tag -> lost.countDown());
            while (stop.getCount() > 0 && !lost.await(200, TimeUnit.MILLISECONDS)) {}
            synchronized (inHand) {} // the task in hand is finished first
        }
    }

    static String env(String name, String usual) { return System.getenv().getOrDefault(name, usual); }

    public static void main(String[] arguments) throws Exception {
        var factory = new ConnectionFactory();
        factory.setAutomaticRecoveryEnabled(false); // a lost connection is opened anew below
        factory.setHost(env("RABBITMQ_HOST", "localhost"));
        factory.setPort(Integer.parseInt(env("RABBITMQ_PORT", "5672")));
        factory.setVirtualHost(env("RABBITMQ_VIRTUAL_HOST", "/"));
        factory.setUsername(env("RABBITMQ_USERNAME", "guest"));
        factory.setPassword(env("RABBITMQ_PASSWORD", "guest"));
        Thread main = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            stop.countDown();
            try { main.join(30_000); } catch (InterruptedException ignored) { }
        }));
        for (int seconds = 1; stop.getCount() > 0; seconds = Math.min(2 * seconds, 60)) {
            try {
                serve(factory);
                seconds = 1;
            } catch (Exception error) {
                System.err.println("again in " + seconds + " s: " + error + ", " + error.getCause());
            }
            stop.await(seconds, TimeUnit.SECONDS);
        }
    }
}
