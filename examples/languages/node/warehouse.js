// A warehouse: reserves goods. The work first, the careful loop after it.

import { mkdir, readFile, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import amqp from "amqplib";

const QUEUE = "warehouse.queue";

/** Does one task and returns the answer; what it throws is a failure. After a crash it may be done again. */
async function work(task) {
  const values = Object.fromEntries(Object.entries(task.variables).map(([name, { value }]) => [name, value]));
  if (values.item === undefined) throw new Error("There is no variable item");
  if (values.quantity > 100) {
    const text = `There are not ${values.quantity} of ${values.item}`;
    return { response_type: "bpmn_error", error_code: "OUT_OF_STOCK", error_message: text };
  }
  await sleep((values.seconds ?? 0) * 1000); // stands for work that takes long
  return { response_type: "complete", variables: { reservation: `${values.quantity} ${values.item}` } };
}

// --- The careful loop: one task at a time; start it twice to do two ---

const inHand = new Map(); // promises of answers by message id; final ones are in the folder answers
const stop = new AbortController();

/** Serves on one connection until a stop, or throws; leaving it gives back to the queue what has no answer. */
async function serve() {
  const connection = await amqp.connect(process.env.AMQP_URL);
  connection.on("error", () => {}); // "close" follows
  try {
    const channel = await connection.createConfirmChannel();
    channel.on("return", () => (channel.isRefused = true)); // no queue took the answer; the confirm comes after it
    await channel.prefetch(1);
    let taking, subscription;
    await new Promise((resolve, reject) => {
      channel.on("error", reject); // says why, such as that there is no queue; "close" follows
      channel.once("close", () => reject(new Error("the connection is lost")));
      stop.signal.addEventListener("abort", resolve);
      subscription = channel.consume(QUEUE, (message) => {
        if (message) taking = take(channel, message).catch(reject);
        else reject(new Error("the broker has ended the subscription"));
      });
      subscription.catch(reject);
    });
    await channel.cancel((await subscription).consumerTag); // what has not begun goes back to the queue
    await taking;
  } finally {
    await connection.close().catch(() => {});
  }
}

/** Answers a message: as before if it came before, and not at all if its lock is over: the task comes again. */
async function take(channel, message) {
  const task = JSON.parse(message.content);
  const left = Date.parse(task.lock_expires_at) - Date.now();
  if (left > 0) await done(channel, message.properties.messageId, task, left / 3);
  channel.ack(message); // only now: the broker has the answer
}

/** Answers a task, and says all `beat` milliseconds that it still works. */
async function done(channel, id, task, beat) {
  const file = `answers/${id.replace(":", "-")}`; // Windows too takes such a name
  const known = await readFile(file).then(JSON.parse).catch(() => null); // new, or cut off by a crash
  if (!inHand.has(id)) inHand.set(id, known ?? answerOf(task)); // else a lost connection brought it again
  const beats = setInterval(() => say(channel, task, { response_type: "extend_lock" }).catch(() => {}), beat);
  const answer = await Promise.resolve(inHand.get(id)).finally(() => clearInterval(beats));
  if (answer.response_type !== "failure") await writeFile(file, JSON.stringify(answer)); // a failure is done again
  await say(channel, task, answer);
  inHand.delete(id);
}

/** Returns the answer to a task, whatever happens. Without `retries` the worker counts down. */
async function answerOf(task) {
  console.log(task.task_id, "begins");
  return work(task).catch((error) => ({ response_type: "failure", error_message: String(error) }));
}

/** Publishes an answer: fulfilled when the broker has it. */
async function say(channel, { task_id, attempt, worker_id }, answer) {
  const body = Buffer.from(JSON.stringify({ task_id, attempt, worker_id, ...answer }));
  const kept = { persistent: true, mandatory: true, contentType: "application/json", correlationId: task_id };
  channel.publish("camunda.task.responses", "camunda.responses.queue", body, kept);
  await channel.waitForConfirms();
  if (channel.isRefused) throw new Error("no queue takes answers");
  console.log(task_id, answer.response_type, answer.error_message ?? "");
}

process.once("SIGTERM", () => stop.abort());
await mkdir("answers", { recursive: true });
for (let pause = 0.5, began; !stop.signal.aborted; ) {
  began = Date.now();
  await serve().catch(async (error) => {
    pause = Date.now() - began > 60_000 ? 1 : Math.min(2 * pause, 30);
    console.log(`no broker, trying again in ${pause} s: ${error}`);
    await sleep(pause * 1000, null, { signal: stop.signal }).catch(() => {});
  });
}
