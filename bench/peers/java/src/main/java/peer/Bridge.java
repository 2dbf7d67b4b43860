package peer;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.rabbitmq.client.AMQP.BasicProperties;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.DefaultConsumer;
import com.rabbitmq.client.Envelope;
import java.io.IOException;
import java.net.InetAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.concurrent.ConcurrentNavigableMap;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import org.camunda.bpm.client.ExternalTaskClient;
import org.camunda.bpm.client.task.ExternalTask;
import org.camunda.bpm.client.task.ExternalTaskService;
import org.camunda.bpm.engine.variable.value.TypedValue;

/**
 * A bridge between Camunda 7 and RabbitMQ as a good engineer would write it in Java in an hour.
 *
 * <p>The engine: camunda-external-task-client, Camunda's own. RabbitMQ: amqp-client, with asynchronous confirms. A
 * task's handler publishes and does not complete: the task stays locked until its answer comes. It promises nothing
 * beyond the happy path: no lock is extended, and what was not confirmed when it was killed is forgotten.
 */
public final class Bridge {
  private static final String TASK_EXCHANGE = "peer.tasks";
  private static final String RESPONSE_QUEUE = "peer.responses";
  private static final ObjectMapper JSON = new ObjectMapper();

  public static void main(String[] args) throws Exception {
    String baseUrl = setting("CAMUNDA_BASE_URL", "http://127.0.0.1:8080/engine-rest").replaceAll("/$", "");
    String workerId = setting("WORKER_ID", "peer-java-" + InetAddress.getLocalHost().getHostName());
    ConnectionFactory factory = new ConnectionFactory();
    factory.setUri(setting("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2F"));
    factory.setAutomaticRecoveryEnabled(true);

    Publisher publisher = new Publisher(factory.newConnection("peer-java-publisher"));
    Completer completer = new Completer(factory.newConnection("peer-java-completer"), baseUrl, workerId);
    fetch(baseUrl, workerId, publisher);

    Runtime.getRuntime().addShutdownHook(new Thread(() -> stop(completer, publisher)));
    new CountDownLatch(1).await();
  }

  private static String setting(String name, String fallback) {
    String value = System.getenv(name);
    return value == null || value.isEmpty() ? fallback : value;
  }

  private static void fetch(String baseUrl, String workerId, Publisher publisher) {
    ExternalTaskClient client =
        ExternalTaskClient.create()
            .baseUrl(baseUrl)
            .workerId(workerId)
            .maxTasks(Integer.parseInt(setting("MAX_TASKS", "100")))
            .lockDuration(Long.parseLong(setting("LOCK_DURATION", "3600000")))
            .asyncResponseTimeout(10000)
            .disableBackoffStrategy()
            .build();
    for (String topic : setting("TOPICS", "bench_a,bench_b,bench_c,bench_d").split(",")) {
      client.subscribe(topic).handler(publisher::publish).open();
    }
  }

  private static void stop(Completer completer, Publisher publisher) {
    try {
      completer.stop();
      publisher.stop();
    } catch (Exception e) {
      System.err.println("stop " + e);
    }
    Runtime.getRuntime().halt(0); // the client's own stop() would wait for the running long poll
  }

  /** Publishes tasks with at most 1000 confirms outstanding; what the broker refuses is unlocked. */
  private static final class Publisher {
    private static final BasicProperties PROPERTIES =
        new BasicProperties.Builder().deliveryMode(2).contentType("application/json").build();

    private record Unconfirmed(ExternalTask task, ExternalTaskService service) {}

    private final ConcurrentNavigableMap<Long, Unconfirmed> outstanding = new ConcurrentSkipListMap<>();
    private final Semaphore room = new Semaphore(1000);
    private final ExecutorService unlocker = Executors.newSingleThreadExecutor(Publisher::daemon);
    private final Connection connection;
    private final Channel channel;

    Publisher(Connection connection) throws IOException {
      this.connection = connection;
      channel = connection.createChannel();
      channel.exchangeDeclare(TASK_EXCHANGE, "topic", true);
      channel.confirmSelect();
      channel.addConfirmListener(this::settle, this::refuse);
    }

    void publish(ExternalTask task, ExternalTaskService service) {
      try {
        byte[] body = message(task);
        room.acquire();
        synchronized (channel) {
          outstanding.put(channel.getNextPublishSeqNo(), new Unconfirmed(task, service));
          channel.basicPublish(TASK_EXCHANGE, task.getTopicName(), PROPERTIES, body);
        }
      } catch (Exception e) {
        System.err.println("publish " + task.getId() + " " + e);
        service.unlock(task);
      }
    }

    void stop() throws Exception {
      synchronized (channel) {
        channel.waitForConfirms(5000);
      }
      connection.close(2000);
    }

    private void settle(long tag, boolean multiple) {
      if (!multiple) {
        if (outstanding.remove(tag) != null) room.release();
        return;
      }
      int settled = 0;
      for (var tags = outstanding.headMap(tag, true).keySet().iterator(); tags.hasNext(); settled++) {
        tags.next();
        tags.remove();
      }
      room.release(settled);
    }

    private void refuse(long tag, boolean multiple) {
      var refused = multiple ? outstanding.headMap(tag, true) : outstanding.subMap(tag, true, tag, true);
      for (Unconfirmed each : refused.values()) {
        System.err.println("nack " + each.task.getId());
        unlocker.submit(() -> each.service.unlock(each.task));
      }
      settle(tag, multiple);
    }

    private static Thread daemon(Runnable work) {
      Thread thread = new Thread(work);
      thread.setDaemon(true);
      return thread;
    }

    private static byte[] message(ExternalTask task) throws JsonProcessingException {
      ObjectNode message = JSON.createObjectNode();
      message.put("task_id", task.getId());
      message.put("topic", task.getTopicName());
      message.put("worker_id", task.getWorkerId());
      message.put("process_instance_id", task.getProcessInstanceId());
      message.put("process_definition_key", task.getProcessDefinitionKey());
      message.put("activity_id", task.getActivityId());
      message.put("business_key", task.getBusinessKey());
      message.put("retries", task.getRetries());
      message.put("priority", task.getPriority());
      ObjectNode variables = message.putObject("variables");
      for (String name : task.getAllVariables().keySet()) {
        TypedValue variable = task.getVariableTyped(name, false);
        String type = variable.getType().getName();
        variables
            .putObject(name)
            .put("type", Character.toUpperCase(type.charAt(0)) + type.substring(1))
            .set("value", JSON.valueToTree(variable.getValue()));
      }
      return JSON.writeValueAsBytes(message);
    }
  }

  /** Completes tasks as their answers come, CONCURRENCY at a time. */
  private static final class Completer extends DefaultConsumer {
    private final HttpClient http =
        HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_1_1)
            .connectTimeout(Duration.ofSeconds(5))
            .build();
    private final ExecutorService pool =
        Executors.newFixedThreadPool(Integer.parseInt(setting("CONCURRENCY", "16")));
    private final Connection connection;
    private final String baseUrl;
    private final String workerId;

    Completer(Connection connection, String baseUrl, String workerId) throws IOException {
      super(connection.createChannel());
      this.connection = connection;
      this.baseUrl = baseUrl;
      this.workerId = workerId;
      getChannel().queueDeclare(RESPONSE_QUEUE, true, false, false, null);
      getChannel().basicQos(50);
      getChannel().basicConsume(RESPONSE_QUEUE, false, this);
    }

    @Override
    public void handleDelivery(String consumer, Envelope envelope, BasicProperties properties, byte[] body) {
      pool.submit(() -> handle(envelope.getDeliveryTag(), body));
    }

    void stop() throws Exception {
      getChannel().basicCancel(getConsumerTag());
      pool.shutdown();
      pool.awaitTermination(5, TimeUnit.SECONDS);
      connection.close(2000);
    }

    private void handle(long tag, byte[] body) {
      try {
        complete(tag, body);
      } catch (IOException | InterruptedException e) {
        System.err.println("response " + e);
      }
    }

    private void complete(long tag, byte[] body) throws IOException, InterruptedException {
      try {
        JsonNode answer = JSON.readTree(body);
        String taskId = answer.required("task_id").asText();
        settle(tag, taskId, post("/external-task/" + taskId + "/complete", completion(answer)));
      } catch (JsonProcessingException | IllegalArgumentException e) {
        System.err.println("bad response " + e);
        getChannel().basicNack(tag, false, false);
      } catch (IOException e) {
        System.err.println("complete " + e);
        Thread.sleep(1000);
        getChannel().basicNack(tag, false, true);
      }
    }

    private String completion(JsonNode answer) throws JsonProcessingException {
      ObjectNode completion = JSON.createObjectNode();
      completion.put("workerId", answer.hasNonNull("worker_id") ? answer.get("worker_id").asText() : workerId);
      if (answer.hasNonNull("variables")) completion.set("variables", answer.get("variables"));
      return JSON.writeValueAsString(completion);
    }

    private HttpResponse<String> post(String path, String body) throws IOException, InterruptedException {
      HttpRequest request =
          HttpRequest.newBuilder(URI.create(baseUrl + path))
              .header("Content-Type", "application/json")
              .timeout(Duration.ofSeconds(30))
              .POST(HttpRequest.BodyPublishers.ofString(body))
              .build();
      return http.send(request, HttpResponse.BodyHandlers.ofString());
    }

    private void settle(long tag, String taskId, HttpResponse<String> response) throws IOException {
      int status = response.statusCode();
      if (status < 300) {
        getChannel().basicAck(tag, false);
      } else if (status == 404) {
        System.err.println("complete " + taskId + " the task is gone");
        getChannel().basicAck(tag, false);
      } else {
        System.err.println("complete " + taskId + " " + status + " " + response.body());
        getChannel().basicNack(tag, false, status >= 500);
      }
    }
  }
}
