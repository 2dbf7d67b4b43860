<?php
// A warehouse: reserves goods. The work first, the careful loop after it.

// With Composer, or with the package php-amqplib of Debian.
require is_file(__DIR__ . '/vendor/autoload.php') ? __DIR__ . '/vendor/autoload.php' : 'PhpAmqpLib/autoload.php';

use PhpAmqpLib\Channel\AMQPChannel;
use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Exception\AMQPTimeoutException;
use PhpAmqpLib\Message\AMQPMessage;

/** Does one task and returns the answer; what it throws is a failure. After a crash it may be done again. */
function work(array $task, callable $alive): array
{
    $values = array_map(fn ($variable) => $variable['value'], $task['variables']);
    if (!isset($values['item'])) {
        throw new InvalidArgumentException('There is no variable item');
    }
    if ($values['quantity'] > 100) {
        $text = "There are not {$values['quantity']} of {$values['item']}";
        return ['response_type' => 'bpmn_error', 'error_code' => 'OUT_OF_STOCK', 'error_message' => $text];
    }
    for ($end = microtime(true) + ($values['seconds'] ?? 0); microtime(true) < $end;) {
        usleep(20_000); // stands for work that takes long,
        $alive(); // and says now and then that it goes on: PHP has no thread to do so
    }
    return ['response_type' => 'complete', 'variables' => ['reservation' => "{$values['quantity']} {$values['item']}"]];
}

// --- The careful loop: one task at a time; start it twice to do two ---

/** Serves on one connection until a stop, or throws; leaving it gives back to the queue what has no answer. */
function serve(bool &$stopping, int &$pause): void
{
    $url = array_map('urldecode', parse_url(getenv('AMQP_URL')));
    $login = [$url['host'], $url['port'] ?? 5672, $url['user'], $url['pass'], substr($url['path'] ?? '//', 1)];
    $connection = new AMQPStreamConnection(...$login);
    try {
        $channel = $connection->channel();
        $channel->confirm_select();
        $channel->set_return_listener(fn () => throw new RuntimeException('no queue takes the answer'));
        $channel->set_nack_handler(fn () => throw new RuntimeException('the broker does not take the answer'));
        $channel->basic_qos(0, 1, false);
        $take = fn (AMQPMessage $message) => take($channel, $message);
        $tag = $channel->basic_consume('warehouse.queue', callback: $take);
        $pause = 1;
        while (!$stopping) {
            if (!$channel->is_consuming()) {
                throw new RuntimeException('the broker has ended the subscription');
            }
            try {
                $channel->wait(null, false, 0.2);
            } catch (AMQPTimeoutException) {
                // nothing came
            }
        }
    } finally {
        $connection->close();
    }
}

/** Answers a message: as before if it came before, and not at all if its lock is over: the task comes again. */
function take(AMQPChannel $channel, AMQPMessage $message): void
{
    $task = json_decode($message->getBody(), true);
    $left = (new DateTimeImmutable($task['lock_expires_at']))->format('U.v') - microtime(true);
    $file = 'answers/' . str_replace(':', '-', $message->get('message_id')); // Windows too takes such a name
    if ($left > 0) {
        $known = is_file($file) ? json_decode(file_get_contents($file), true) : null; // null: cut off by a crash
        $answer = $known ?? answer_of($channel, $task, $left / 3);
        if ($answer['response_type'] !== 'failure') { // what has failed is done again
            file_put_contents($file, json_encode($answer));
        }
        say($channel, $task, $answer);
    }
    $message->ack(); // only now: the broker has the answer
}

/** Does the work and returns the answer, whatever happens. Without `retries` the worker counts down. */
function answer_of(AMQPChannel $channel, array $task, float $beat): array
{
    echo "{$task['task_id']} begins\n";
    $next = microtime(true) + $beat;
    $alive = function () use ($channel, $task, $beat, &$next): void {
        if (microtime(true) > $next) {
            $next += $beat;
            try {
                say($channel, $task, ['response_type' => 'extend_lock']);
            } catch (Exception) {
                // the connection is lost: the work goes on, and the message comes again after it
            }
        }
    };
    try {
        return work($task, $alive);
    } catch (Throwable $error) {
        return ['response_type' => 'failure', 'error_message' => $error->getMessage()];
    }
}

/** Publishes an answer: returns when the broker has it, else throws. */
function say(AMQPChannel $channel, array $task, array $answer): void
{
    $echo = array_intersect_key($task, array_flip(['task_id', 'attempt', 'worker_id']));
    $kept = ['delivery_mode' => 2, 'content_type' => 'application/json', 'correlation_id' => $task['task_id']];
    $message = new AMQPMessage(json_encode($answer + $echo), $kept);
    $channel->basic_publish($message, 'camunda.task.responses', 'camunda.responses.queue', true);
    $channel->wait_for_pending_acks_returns(60);
    echo "{$task['task_id']} {$answer['response_type']} ", $answer['error_message'] ?? '', "\n";
}

$stopping = false;
$pause = 1;
pcntl_async_signals(true);
pcntl_signal(SIGTERM, function () use (&$stopping) { $stopping = true; });
@mkdir('answers');
while (!$stopping) {
    try {
        serve($stopping, $pause);
    } catch (Exception $error) {
        echo "no broker, trying again in $pause s: {$error->getMessage()}\n";
        sleep($pause); // a signal ends it
        $pause = min(2 * $pause, 30);
    }
}
