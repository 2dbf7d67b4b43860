// A warehouse: reserves goods. The work first, the careful loop after it.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

type object = map[string]any

// work does one task and returns the answer; a panic is a failure. After a crash it may be done again.
func work(task object) object {
	values := object{"seconds": 0.0}
	for name, variable := range task["variables"].(object) {
		values[name] = variable.(object)["value"]
	}
	if values["item"] == nil {
		panic("there is no variable item")
	}
	if values["quantity"].(float64) > 100 {
		text := fmt.Sprint("There are not ", values["quantity"], " of ", values["item"])
		return object{"response_type": "bpmn_error", "error_code": "OUT_OF_STOCK", "error_message": text}
	}
	time.Sleep(time.Duration(values["seconds"].(float64) * float64(time.Second))) // stands for work that takes long
	return object{"response_type": "complete", "variables": object{"reservation": fmt.Sprint(values["quantity"], " ", values["item"])}}
}

// --- The careful loop: one task at a time; start it twice to do two ---

var inHand = map[string]chan object{} // answers to come, by message id; final ones are in the folder answers
var pause = time.Second

func check(err error) {
	if err != nil {
		panic(err) // serve recovers, and the connection is made anew
	}
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

// serve works on one connection until a stop; leaving it gives back to the queue what has no answer.
func serve(stop context.Context) (lost any) {
	defer func() { lost = recover() }()
	connection := must(amqp.Dial(os.Getenv("AMQP_URL")))
	defer connection.Close()
	channel := must(connection.Channel())
	check(channel.Confirm(false))
	check(channel.Qos(1, 0, false))
	returns := channel.NotifyReturn(make(chan amqp.Return, 1))
	messages := must(channel.Consume("warehouse.queue", "warehouse", false, false, false, false, nil))
	pause = time.Second
	go func() { <-stop.Done(); _ = channel.Cancel("warehouse", false) }() // gives back what has not begun
	// say publishes an answer: it returns when the broker has it.
	say := func(task, answer object) {
		answer["task_id"], answer["attempt"], answer["worker_id"] = task["task_id"], task["attempt"], task["worker_id"]
		kept := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: must(json.Marshal(answer))}
		kept.CorrelationId, kept.ContentType = task["task_id"].(string), "application/json"
		confirm := must(channel.PublishWithDeferredConfirm("camunda.task.responses", "camunda.responses.queue", true, false, kept))
		if !confirm.Wait() || len(returns) > 0 {
			panic("the broker does not take the answer")
		}
		fmt.Println(task["task_id"], answer["response_type"], answer["error_message"])
	}
	for message := range messages {
		take(message, say)
		check(message.Ack(false)) // only now: the broker has the answer
	}
	if stop.Err() == nil {
		panic("the broker has ended the subscription")
	}
	return nil
}

// take answers a message: as before if it came before, and not at all if its lock is over: the task comes again.
func take(message amqp.Delivery, say func(task, answer object)) {
	var task, answer object
	check(json.Unmarshal(message.Body, &task))
	left := time.Until(must(time.Parse(time.RFC3339, task["lock_expires_at"].(string))))
	if left <= 0 {
		return
	}
	// Windows too takes such a name; a message that comes again has an answer, or is still in hand.
	id := strings.Replace(message.MessageId, ":", "-", 1)
	if known, _ := os.ReadFile("answers/" + id); json.Unmarshal(known, &answer) != nil && inHand[id] == nil {
		inHand[id] = make(chan object, 1)
		fmt.Println(task["task_id"], "begins")
		go func(result chan<- object) {
			defer func() {
				if err := recover(); err != nil { // without `retries` the worker counts down
					result <- object{"response_type": "failure", "error_message": fmt.Sprint(err)}
				}
			}()
			result <- work(task)
		}(inHand[id])
	}
	for answer == nil {
		select {
		case answer = <-inHand[id]:
			inHand[id] <- answer // stays until it is said
		case <-time.After(left / 3):
			say(task, object{"response_type": "extend_lock"})
		}
	}
	if answer["response_type"] != "failure" { // what has failed is done again
		check(os.WriteFile("answers/"+id, must(json.Marshal(answer)), 0o644))
	}
	say(task, answer)
	delete(inHand, id)
}

func main() {
	check(os.MkdirAll("answers", 0o755))
	stop, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	for stop.Err() == nil {
		if lost := serve(stop); lost != nil {
			fmt.Println("no broker, trying again in", pause, lost)
			select {
			case <-stop.Done():
			case <-time.After(pause):
			}
			if pause < 30*time.Second {
				pause *= 2
			}
		}
	}
}
