// A system in Node: does each task of a queue once and answers it, until SIGTERM.
import amqp from 'amqplib'
import { setTimeout as pause } from 'node:timers/promises'

const env = process.env
const QUEUE = env.QUEUE ?? 'default.queue'
const EXCHANGE = 'camunda.task.responses'
const ANSWERS = 'camunda.responses.queue'
const BROKER = {
  hostname: env.RABBITMQ_HOST ?? 'localhost',
  port: Number(env.RABBITMQ_PORT ?? 5672),
  username: env.RABBITMQ_USERNAME ?? 'guest',
  password: env.RABBITMQ_PASSWORD ?? 'guest',
  vhost: env.RABBITMQ_VIRTUAL_HOST ?? '/',
  heartbeat: 30,
}
const answered = new Map() // by task; a real system keeps its final answers in its database
const working = new Set() // tasks in hand: a copy of one is dropped
let stopping = false
let connection

// The work itself. `say` sends a heartbeat: await say({ response_type: 'extend_lock', lock_duration: 600000 })
async function work(task, say) {
  return { response_type: 'complete', variables: { done_by: 'node' } }
}

async function answerOf(task, say) {
  try {
    const answer = await work(task, say)
    console.log(`done ${task.task_id}`)
    answered.set(task.task_id, answer)
    return answer
  } catch (error) {
    return { response_type: 'failure', error_message: String(error), retry_timeout: 30000 }
  }
}

// Resolves when the broker has the answer in a queue, rejects where it has not.
function publish(channel, task, answer) {
  const { task_id, attempt, worker_id } = task
  const body = Buffer.from(JSON.stringify({ task_id, attempt, worker_id, ...answer }))
  const options = { persistent: true, mandatory: true, correlationId: task_id }
  return new Promise((resolve, reject) => {
    channel.publish(EXCHANGE, ANSWERS, body, options, (error) => {
      error || channel.returned ? reject(error ?? new Error('no queue takes answers')) : resolve()
    })
  })
}

async function onMessage(channel, message) {
  const task = JSON.parse(message.content)
  if (Date.now() < Date.parse(task.lock_expires_at) && !working.has(task.task_id)) {
    working.add(task.task_id)
    try {
      const say = (answer) => publish(channel, task, answer)
      await say(answered.get(task.task_id) ?? (await answerOf(task, say)))
    } finally {
      working.delete(task.task_id)
    }
  }
  channel.ack(message) // of one whose lock is over too: the task comes again
}

async function serve() {
  connection = await amqp.connect(BROKER)
  const lost = new Promise((resolve) => connection.once('close', resolve))
  connection.on('error', (error) => console.error(`connection: ${error.message}`))
  const channel = await connection.createConfirmChannel()
  const hangUp = () => connection.close().catch(() => {}) // what is not acknowledged is delivered again
  channel.on('error', (error) => { console.error(`channel: ${error.message}`); hangUp() })
  channel.on('return', () => { channel.returned = true })
  await channel.checkQueue(QUEUE) // the worker makes it, and its binding
  await channel.prefetch(4)
  await channel.consume(QUEUE, (message) => {
    if (message === null) return hangUp() // the queue was deleted
    return onMessage(channel, message).catch((error) => { console.error(String(error)); hangUp() })
  })
  await lost
}

for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, async () => {
    stopping = true
    while (working.size > 0) await pause(50)
    await connection?.close().catch(() => {})
    process.exit(0)
  })
}

for (let seconds = 1; !stopping; seconds = Math.min(2 * seconds, 60)) {
  const started = Date.now()
  await serve().catch((error) => console.error(String(error)))
  if (Date.now() - started > 60000) seconds = 1
  if (!stopping) await pause(1000 * seconds)
}
