// A system in Go: does each task of a queue once and answers it, until SIGTERM.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

type task struct {
	ID       string    `json:"task_id"`
	Attempt  string    `json:"attempt"`
	WorkerID string    `json:"worker_id"`
	LockEnd  time.Time `json:"lock_expires_at"`
}

type answer map[string]any
type sayer func(answer) error

var answered = map[string]answer{} // by task; a real system keeps its final answers in its database

// work is the work itself; say sends a heartbeat: say(answer{"response_type": "extend_lock", "lock_duration": 600000})
func work(t task, say sayer) (answer, error) {
	return answer{"response_type": "complete", "variables": answer{"done_by": "go"}}, nil
}

func answerOf(t task, say sayer) answer {
	if known, again := answered[t.ID]; again {
		return known
	}
	said, err := work(t, say)
	if err != nil {
		return answer{"response_type": "failure", "error_message": err.Error(), "retry_timeout": 30000}
	}
	log.Printf("done %s", t.ID)
	answered[t.ID] = said
	return said
}

// publish returns when the broker has the answer in a queue, or an error.
func publish(channel *amqp.Channel, returned <-chan amqp.Return, t task, said answer) error {
	said["task_id"], said["attempt"], said["worker_id"] = t.ID, t.Attempt, t.WorkerID
	body, _ := json.Marshal(said)
	message := amqp.Publishing{DeliveryMode: amqp.Persistent, CorrelationId: t.ID, Body: body}
	confirm, err := channel.PublishWithDeferredConfirm(
		"camunda.task.responses", "camunda.responses.queue", true, false, message)
	if err == nil && (!confirm.Wait() || len(returned) > 0) { // what is returned is so before its confirm
		err = errors.New("the broker did not take the answer")
	}
	return err
}

func serve(stop context.Context) error {
	login := &amqp.PlainAuth{Username: env("RABBITMQ_USERNAME", "guest"), Password: env("RABBITMQ_PASSWORD", "guest")}
	config := amqp.Config{SASL: []amqp.Authentication{login}, Vhost: env("RABBITMQ_VIRTUAL_HOST", "/")}
	host := "amqp://" + env("RABBITMQ_HOST", "localhost") + ":" + env("RABBITMQ_PORT", "5672")
	connection, err := amqp.DialConfig(host, config)
	if err != nil {
		return err
	}
	defer connection.Close() // what is not acknowledged is delivered again
	channel, err := connection.Channel()
	if err != nil {
		return err
	}
	returned := channel.NotifyReturn(make(chan amqp.Return, 4))
	channel.Confirm(false) // an error of these two closes the channel, and consuming fails
	channel.Qos(4, 0, false)
	deliveries, err := channel.Consume(env("QUEUE", "default.queue"), "", false, false, false, false, nil)
	for err == nil {
		select {
		case <-stop.Done():
			return nil
		case delivery, open := <-deliveries:
			if !open {
				return errors.New("the connection or the queue is gone")
			}
			err = onMessage(channel, returned, delivery)
		}
	}
	return err
}

func onMessage(channel *amqp.Channel, returned <-chan amqp.Return, delivery amqp.Delivery) error {
	var t task
	err := json.Unmarshal(delivery.Body, &t)
	if err == nil && time.Now().Before(t.LockEnd) { // else the task comes again
		say := func(said answer) error { return publish(channel, returned, t, said) }
		err = say(answerOf(t, say))
	}
	if err != nil {
		return err
	}
	return delivery.Ack(false)
}

func env(name, usual string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return usual
}

func main() {
	stop, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	for seconds := 1; stop.Err() == nil; seconds = 1 + 2*seconds%63 { // 1, 3, 7, 15, 31, 63, 1
		log.Printf("served: %v", serve(stop))
		pause, cancel := context.WithTimeout(stop, time.Duration(seconds)*time.Second)
		<-pause.Done()
		cancel()
	}
}
