// A bridge between Camunda 7 and RabbitMQ as a good engineer would write it in Go in an hour.
//
// RabbitMQ: rabbitmq/amqp091-go, with deferred confirms. The engine: Camunda has no client for Go, and those of
// others are a thin layer of encoding/json over one http.Client, which is what stands here.
// It promises nothing beyond the happy path: no lock is extended, and a lost connection ends the process.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	taskExchange         = "peer.tasks"
	responseQueue        = "peer.responses"
	consumerTag          = "peer-go"
	prefetch             = 50
	asyncResponseTimeout = 10000 // milliseconds
	requestTimeout       = 60 * time.Second
	confirmTimeout       = 30 * time.Second
	completeTimeout      = 30 * time.Second
	pauseAfterError      = 2 * time.Second
)

type variable struct {
	Value any    `json:"value"`
	Type  string `json:"type"`
}

type topic struct {
	TopicName    string `json:"topicName"`
	LockDuration int    `json:"lockDuration"`
}

type fetchRequest struct {
	WorkerID             string  `json:"workerId"`
	MaxTasks             int     `json:"maxTasks"`
	UsePriority          bool    `json:"usePriority"`
	AsyncResponseTimeout int     `json:"asyncResponseTimeout"`
	Topics               []topic `json:"topics"`
}

type lockedTask struct {
	ID                   string              `json:"id"`
	TopicName            string              `json:"topicName"`
	WorkerID             string              `json:"workerId"`
	ProcessInstanceID    string              `json:"processInstanceId"`
	ProcessDefinitionKey string              `json:"processDefinitionKey"`
	ActivityID           string              `json:"activityId"`
	BusinessKey          *string             `json:"businessKey"`
	Retries              *int                `json:"retries"`
	Priority             int                 `json:"priority"`
	Variables            map[string]variable `json:"variables"`
}

// taskMessage has the fields of lockedTask, so that one converts into the other.
type taskMessage struct {
	ID                   string              `json:"task_id"`
	TopicName            string              `json:"topic"`
	WorkerID             string              `json:"worker_id"`
	ProcessInstanceID    string              `json:"process_instance_id"`
	ProcessDefinitionKey string              `json:"process_definition_key"`
	ActivityID           string              `json:"activity_id"`
	BusinessKey          *string             `json:"business_key"`
	Retries              *int                `json:"retries"`
	Priority             int                 `json:"priority"`
	Variables            map[string]variable `json:"variables"`
}

type response struct {
	TaskID    string          `json:"task_id"`
	WorkerID  string          `json:"worker_id"`
	Variables json.RawMessage `json:"variables"`
}

type completeRequest struct {
	WorkerID  string          `json:"workerId"`
	Variables json.RawMessage `json:"variables,omitempty"`
}

type engine struct {
	baseURL string
	client  *http.Client
}

func newEngine(baseURL string) *engine {
	transport := &http.Transport{MaxIdleConns: 64, MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second}
	return &engine{strings.TrimRight(baseURL, "/"), &http.Client{Timeout: requestTimeout, Transport: transport}}
}

func (e *engine) fetchAndLock(ctx context.Context, request fetchRequest) ([]lockedTask, error) {
	answer, err := e.post(ctx, "/external-task/fetchAndLock", request)
	if err != nil {
		return nil, err
	}
	defer drain(answer)
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(answer.Body)
		return nil, fmt.Errorf("fetchAndLock: %d %s", answer.StatusCode, text)
	}
	var tasks []lockedTask
	err = json.NewDecoder(answer.Body).Decode(&tasks)
	return tasks, err
}

func (e *engine) complete(taskID string, request completeRequest) (status int, text []byte, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), completeTimeout)
	defer cancel()
	answer, err := e.post(ctx, "/external-task/"+taskID+"/complete", request)
	if err != nil {
		return 0, nil, err
	}
	text, _ = io.ReadAll(answer.Body)
	answer.Body.Close()
	return answer.StatusCode, text, nil
}

func (e *engine) unlock(taskID string) {
	answer, err := e.post(context.Background(), "/external-task/"+taskID+"/unlock", struct{}{})
	if err == nil {
		drain(answer)
	}
}

func (e *engine) post(ctx context.Context, path string, body any) (*http.Response, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.baseURL+path, bytes.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	return e.client.Do(request)
}

// drain reads an answer to its end: only then is its connection used again.
func drain(answer *http.Response) {
	io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
}

func fetchUntilDone(ctx context.Context, engine *engine, channel *amqp.Channel, request fetchRequest) {
	for ctx.Err() == nil {
		tasks, err := engine.fetchAndLock(ctx, request)
		if err == nil && len(tasks) > 0 {
			err = publish(engine, channel, tasks)
		}
		if err != nil && ctx.Err() == nil {
			log.Print(err)
			time.Sleep(pauseAfterError)
		}
	}
}

// publish sends the whole batch, then waits for its confirms, and unlocks what is not confirmed.
func publish(engine *engine, channel *amqp.Channel, tasks []lockedTask) error {
	confirms, err := send(channel, tasks)
	ctx, cancel := context.WithTimeout(context.Background(), confirmTimeout)
	defer cancel()
	for i, confirm := range confirms {
		confirmed := false
		if confirm != nil {
			confirmed, _ = confirm.WaitContext(ctx)
		}
		if !confirmed {
			log.Printf("publish %s failed: %v", tasks[i].ID, err)
			engine.unlock(tasks[i].ID)
		}
	}
	return err
}

// send returns a confirm for each task; after an error those of the tasks that were not sent are nil.
func send(channel *amqp.Channel, tasks []lockedTask) ([]*amqp.DeferredConfirmation, error) {
	confirms := make([]*amqp.DeferredConfirmation, len(tasks))
	for i, task := range tasks {
		body, err := json.Marshal(taskMessage(task))
		if err != nil {
			return confirms, err
		}
		message := amqp.Publishing{DeliveryMode: amqp.Persistent, ContentType: "application/json", Body: body}
		confirms[i], err = channel.PublishWithDeferredConfirm(taskExchange, task.TopicName, false, false, message)
		if err != nil {
			return confirms, err
		}
	}
	return confirms, nil
}

func startCompleting(
	engine *engine, deliveries <-chan amqp.Delivery, concurrency int, workerID string,
) *sync.WaitGroup {
	var completing sync.WaitGroup
	for i := 0; i < concurrency; i++ {
		completing.Add(1)
		go func() {
			defer completing.Done()
			for delivery := range deliveries {
				complete(engine, delivery, workerID)
			}
		}()
	}
	return &completing
}

func complete(engine *engine, delivery amqp.Delivery, workerID string) {
	var answer response
	if err := json.Unmarshal(delivery.Body, &answer); err != nil || answer.TaskID == "" {
		log.Printf("bad response: %v", err)
		delivery.Nack(false, false)
		return
	}
	if answer.WorkerID == "" {
		answer.WorkerID = workerID
	}
	status, text, err := engine.complete(answer.TaskID, completeRequest{answer.WorkerID, answer.Variables})
	switch {
	case err != nil:
		log.Printf("complete %s: %v", answer.TaskID, err)
		time.Sleep(time.Second)
		delivery.Nack(false, true)
	case status < 300:
		delivery.Ack(false)
	case status == http.StatusNotFound:
		log.Printf("complete %s: the task is gone", answer.TaskID)
		delivery.Ack(false)
	default:
		log.Printf("complete %s: %d %s", answer.TaskID, status, text)
		delivery.Nack(false, status >= 500)
	}
}

func connect(url string) *amqp.Connection {
	connection, err := amqp.Dial(url)
	check(err)
	go func() {
		if err := <-connection.NotifyClose(make(chan *amqp.Error, 1)); err != nil {
			log.Fatal(err) // whoever supervises the process starts it again
		}
	}()
	return connection
}

func openPublisher(connection *amqp.Connection) *amqp.Channel {
	channel, err := connection.Channel()
	check(err)
	check(channel.ExchangeDeclare(taskExchange, "topic", true, false, false, false, nil))
	check(channel.Confirm(false))
	return channel
}

func openConsumer(connection *amqp.Connection) (*amqp.Channel, <-chan amqp.Delivery) {
	channel, err := connection.Channel()
	check(err)
	_, err = channel.QueueDeclare(responseQueue, true, false, false, false, nil)
	check(err)
	check(channel.Qos(prefetch, 0, false))
	deliveries, err := channel.Consume(responseQueue, consumerTag, false, false, false, false, nil)
	check(err)
	return channel, deliveries
}

func setting(name, fallback string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return fallback
}

func number(name string, fallback int) int {
	value, err := strconv.Atoi(setting(name, strconv.Itoa(fallback)))
	check(err)
	return value
}

func fetchSettings(workerID string) fetchRequest {
	lockDuration := number("LOCK_DURATION", 3600000)
	var topics []topic
	for _, name := range strings.Split(setting("TOPICS", "bench_a,bench_b,bench_c,bench_d"), ",") {
		topics = append(topics, topic{name, lockDuration})
	}
	return fetchRequest{workerID, number("MAX_TASKS", 100), true, asyncResponseTimeout, topics}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	host, _ := os.Hostname()
	workerID := setting("WORKER_ID", "peer-go-"+host)
	engine := newEngine(setting("CAMUNDA_BASE_URL", "http://127.0.0.1:8080/engine-rest"))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()

	connection := connect(setting("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/"))
	defer connection.Close()
	publisher := openPublisher(connection)
	consumer, deliveries := openConsumer(connection)

	completing := startCompleting(engine, deliveries, number("CONCURRENCY", 16), workerID)
	fetchUntilDone(ctx, engine, publisher, fetchSettings(workerID))
	consumer.Cancel(consumerTag, false)
	completing.Wait()
}
