// A bridge between Camunda 7 and RabbitMQ as a good engineer would write it in Node in an hour.
//
// The engine: camunda-external-task-client-js, Camunda's own. RabbitMQ: amqplib, with a confirm channel.
// A task's handler publishes and does not complete: the task stays locked until its answer comes.
// It promises nothing beyond the happy path: no lock is extended, and a lost connection ends the process.
import os from "node:os";

import amqp from "amqplib";
import { Client } from "camunda-external-task-client-js";

const TASK_EXCHANGE = "peer.tasks";
const RESPONSE_QUEUE = "peer.responses";
const PREFETCH = 50;

const BASE_URL = (process.env.CAMUNDA_BASE_URL || "http://127.0.0.1:8080/engine-rest").replace(/\/$/, "");
const AMQP_URL = process.env.AMQP_URL || "amqp://guest:guest@127.0.0.1:5672/%2F";
const MAX_TASKS = Number(process.env.MAX_TASKS || 100);
const TOPICS = (process.env.TOPICS || "bench_a,bench_b,bench_c,bench_d").split(",");
const LOCK_DURATION = Number(process.env.LOCK_DURATION || 3600000);
const CONCURRENCY = Number(process.env.CONCURRENCY || 16);
const WORKER_ID = process.env.WORKER_ID || `peer-node-${os.hostname()}`;

let stopping = false;
let completing = 0;
const waiting = [];

const connection = await amqp.connect(AMQP_URL, { noDelay: true });
connection.on("error", (error) => console.error("amqp", error.message));
connection.on("close", () => {
  if (!stopping) process.exit(1); // whoever supervises the process starts it again
});
const publisher = await openPublisher();
const consumer = await openConsumer();
const { consumerTag } = await consumer.consume(RESPONSE_QUEUE, onResponse);
const client = new Client({
  baseUrl: BASE_URL,
  workerId: WORKER_ID,
  maxTasks: MAX_TASKS,
  lockDuration: LOCK_DURATION,
  asyncResponseTimeout: 10000,
  interval: 0,
  autoPoll: false,
});
client.on("poll:error", (error) => console.error("poll", error.message));
for (const topic of TOPICS) client.subscribe(topic, onTask);
client.start();
process.on("SIGTERM", stop);
process.on("SIGINT", stop);

async function openPublisher() {
  const channel = await connection.createConfirmChannel();
  await channel.assertExchange(TASK_EXCHANGE, "topic", { durable: true });
  return channel;
}

async function openConsumer() {
  const channel = await connection.createChannel();
  await channel.assertQueue(RESPONSE_QUEUE, { durable: true });
  await channel.prefetch(PREFETCH);
  return channel;
}

async function onTask({ task, taskService }) {
  try {
    await publish(task.topicName, messageOf(task));
  } catch (error) {
    console.error("publish", task.id, error.message);
    await taskService.unlock(task); // fetched again by the next poll
  }
}

function messageOf(task) {
  const variables = {};
  for (const [name, { value, type }] of Object.entries(task.variables.getAllTyped())) {
    variables[name] = { value, type };
  }
  return Buffer.from(
    JSON.stringify({
      task_id: task.id,
      topic: task.topicName,
      worker_id: task.workerId,
      process_instance_id: task.processInstanceId,
      process_definition_key: task.processDefinitionKey,
      activity_id: task.activityId,
      business_key: task.businessKey,
      retries: task.retries,
      priority: task.priority,
      variables,
    }),
  );
}

function publish(topic, body) {
  const options = { persistent: true, contentType: "application/json" };
  return new Promise((resolve, reject) => {
    publisher.publish(TASK_EXCHANGE, topic, body, options, (error) => (error ? reject(error) : resolve()));
  });
}

// At most CONCURRENCY answers are on their way to the engine; the built-in fetch keeps connections alive.
async function onResponse(message) {
  if (message === null) return;
  if (completing >= CONCURRENCY) {
    waiting.push(message);
    return;
  }
  completing++;
  try {
    await complete(message);
  } catch (error) {
    console.error("response", error.message);
    if (error instanceof SyntaxError) consumer.nack(message, false, false);
    else setTimeout(() => consumer.nack(message, false, true), 1000);
  } finally {
    completing--;
    const next = waiting.shift();
    if (next) onResponse(next);
  }
}

async function complete(message) {
  const answer = JSON.parse(message.content);
  const response = await fetch(`${BASE_URL}/external-task/${answer.task_id}/complete`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ workerId: answer.worker_id || WORKER_ID, variables: answer.variables || {} }),
    signal: AbortSignal.timeout(30000),
  });
  const text = await response.text(); // read to its end, or the connection is not used again
  if (response.ok) {
    consumer.ack(message);
  } else if (response.status === 404) {
    console.error("complete", answer.task_id, "the task is gone");
    consumer.ack(message);
  } else {
    console.error("complete", answer.task_id, response.status, text.slice(0, 300));
    consumer.nack(message, false, response.status >= 500);
  }
}

async function stop() {
  if (stopping) return;
  stopping = true;
  client.stop();
  await consumer.cancel(consumerTag).catch(() => {});
  for (let turns = 0; turns < 100 && (completing || waiting.length || client.activeTasksCount); turns++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await publisher.waitForConfirms().catch(() => {});
  await connection.close().catch(() => {});
  process.exit(0);
}
