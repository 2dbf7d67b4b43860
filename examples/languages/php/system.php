<?php
// A system in PHP: does each task of a queue once and answers it, until SIGTERM.
declare(strict_types=1);

require 'PhpAmqpLib/autoload.php'; // of Debian; with composer it is vendor/autoload.php

use PhpAmqpLib\Channel\AMQPChannel;
use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Exception\AMQPTimeoutException;
use PhpAmqpLib\Message\AMQPMessage;

const EXCHANGE = 'camunda.task.responses';
const ANSWERS = 'camunda.responses.queue';

$answered = []; // by task; a real system keeps its final answers in its database
$stopping = false;

// The work itself; a heartbeat: $say(['response_type' => 'extend_lock', 'lock_duration' => 600000]).
function work(array $task, callable $say): array
{
    return ['response_type' => 'complete', 'variables' => ['done_by' => 'php']];
}

function answer_of(array $task, callable $say): array
{
    global $answered;
    $id = $task['task_id'];
    if (isset($answered[$id])) {
        return $answered[$id];
    }
    try {
        $answer = work($task, $say);
    } catch (Throwable $error) {
        return ['response_type' => 'failure', 'error_message' => (string) $error, 'retry_timeout' => 30000];
    }
    echo "done $id\n";
    return $answered[$id] = $answer;
}

// Returns when the broker has the answer in a queue; throws where it has not.
function publish(AMQPChannel $channel, array $task, array $answer): void
{
    $echo = array_intersect_key($task, array_flip(['task_id', 'attempt', 'worker_id']));
    $persistent = ['delivery_mode' => 2, 'correlation_id' => $task['task_id']];
    $message = new AMQPMessage(json_encode($echo + $answer, JSON_THROW_ON_ERROR), $persistent);
    $channel->basic_publish($message, EXCHANGE, ANSWERS, true);
    $channel->wait_for_pending_acks_returns(60);
}

function take(AMQPChannel $channel, AMQPMessage $message): void
{
    $task = json_decode($message->getBody(), true, 512, JSON_THROW_ON_ERROR);
    if (new DateTimeImmutable() < new DateTimeImmutable($task['lock_expires_at'])) { // else it comes again
        $say = fn (array $answer) => publish($channel, $task, $answer);
        $say(answer_of($task, $say));
    }
    $message->ack();
}

function serve(): void
{
    global $stopping;
    $connection = connect();
    try {
        $channel = $connection->channel();
        $channel->confirm_select();
        $channel->set_nack_handler(fn () => throw new RuntimeException('the broker did not take the answer'));
        $channel->set_return_listener(fn () => throw new RuntimeException('no queue takes answers'));
        $channel->basic_qos(0, 4, false);
        $queue = setting('QUEUE', 'default.queue');
        $channel->basic_consume($queue, '', false, false, false, false, fn ($message) => take($channel, $message));
        while (!$stopping && $channel->is_consuming()) {
            try {
                $channel->wait(null, false, 1);
            } catch (AMQPTimeoutException) {
                $connection->checkHeartBeat();
            }
        }
    } finally {
        $connection->close(); // what is not acknowledged is delivered again
    }
}

function connect(): AMQPStreamConnection
{
    [$user, $password] = [setting('RABBITMQ_USERNAME', 'guest'), setting('RABBITMQ_PASSWORD', 'guest')];
    [$host, $port] = [setting('RABBITMQ_HOST', 'localhost'), setting('RABBITMQ_PORT', '5672')];
    $vhost = setting('RABBITMQ_VIRTUAL_HOST', '/');
    return new AMQPStreamConnection($host, (int) $port, $user, $password, $vhost, heartbeat: 60, read_write_timeout: 130);
}

function setting(string $name, string $usual): string
{
    $value = getenv($name);
    return $value === false ? $usual : $value;
}

pcntl_async_signals(true);
foreach ([SIGTERM, SIGINT] as $signal) {
    pcntl_signal($signal, function () use (&$stopping) { $stopping = true; });
}
for ($seconds = 1; !$stopping; $seconds = min(2 * $seconds, 60)) {
    $started = time();
    try {
        serve();
    } catch (Throwable $error) {
        fwrite(STDERR, "again in $seconds s: {$error->getMessage()}\n");
    }
    $seconds = time() - $started > 60 ? 1 : $seconds;
    for ($left = $seconds; $left > 0 && !$stopping; --$left) {
        sleep(1);
    }
}
