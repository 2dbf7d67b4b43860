package main

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The middle of an id says of what it is; before it stands the run, after it the task's number.
const (
	taskKind      = "-0001-11f1-8d01-"
	instanceKind  = "-0002-11f1-8d01-"
	executionKind = "-0003-11f1-8d01-"
	activityKind  = "-0004-11f1-8d01-"
)

const definition = `"processDefinitionId":"standin:1:00000000-0005-11f1-8d01-000000000000",` +
	`"processDefinitionKey":"standin","processDefinitionVersionTag":null,"processInstanceId":"`

var (
	filler  = makeFiller(1 << 16)
	doc     = quoted(document)
	buffers = sync.Pool{New: func() interface{} { return new([]byte) }}
)

const document = `{"order": 4711, "customer": {"name": "Zoë Müller", "vip": true}, "items": [` +
	`{"sku": "A-0", "qty": 0, "price": 9.99}, {"sku": "A-1", "qty": 1, "price": 9.99}, ` +
	`{"sku": "A-2", "qty": 2, "price": 9.99}, {"sku": "A-3", "qty": 3, "price": 9.99}, ` +
	`{"sku": "A-4", "qty": 4, "price": 9.99}, {"sku": "A-5", "qty": 5, "price": 9.99}]}`

// makeFiller returns text that JSON need not escape, the same in every process.
func makeFiller(size int) []byte {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789   "
	random, text := rand.New(rand.NewSource(7)), make([]byte, size)
	for i := range text {
		text[i] = letters[random.Intn(len(letters))]
	}
	return text
}

func appendID(to []byte, run, kind string, number int) []byte {
	to = append(append(to, run...), kind...)
	return append(to, fmt.Sprintf("%012d", number)...)
}

func taskID(run string, number int) string { return string(appendID(nil, run, taskKind, number)) }

// numberOf returns the number of a task of this run; false where the id is none.
func numberOf(run, id string) (int, bool) {
	digits := strings.TrimPrefix(id, run+taskKind)
	number, err := strconv.Atoi(digits)
	return number, err == nil && number >= 0 && len(digits) == 12 && len(id) == 36
}

// writeRows answers with tasks; a fetched one has its variables.
func writeRows(w http.ResponseWriter, run string, tasks []task, isFetched bool) {
	buffer := buffers.Get().(*[]byte)
	body := append((*buffer)[:0], '[')
	for i := range tasks {
		if i > 0 {
			body = append(body, ',')
		}
		body = appendRow(body, run, &tasks[i], isFetched)
	}
	body = append(body, ']')
	writeBytes(w, body)
	*buffer = body
	buffers.Put(buffer)
}

// appendRow writes a task with the engine's names in the engine's order.
func appendRow(to []byte, run string, t *task, isFetched bool) []byte {
	to = append(to, `{"activityId":"task","activityInstanceId":"task:`...)
	to = appendID(to, run, activityKind, t.number)
	to = appendText(append(to, `","errorMessage":`...), t.errorMessage)
	if isFetched {
		to = appendText(append(to, `,"errorDetails":`...), t.errorDetails)
	}
	to = appendID(append(to, `,"executionId":"`...), run, executionKind, t.number)
	to = appendID(append(to, `","id":"`...), run, taskKind, t.number)
	to = appendMoment(append(to, `","lockExpirationTime":`...), t.lockEnds)
	to = appendMoment(append(to, `,"createTime":`...), t.createdAt)
	to = append(append(to, ','), definition...)
	to = appendID(to, run, instanceKind, t.number)
	to = appendRetries(append(to, `","retries":`...), t.retries)
	to = appendName(append(to, `,"suspended":false,"workerId":`...), t.worker)
	to = appendName(append(to, `,"topicName":`...), t.topic.name)
	to = append(to, `,"tenantId":null,`...)
	if isFetched {
		to = appendVariables(to, run, t)
	}
	to = append(append(to, `"priority":0,"businessKey":"`...), run...)
	to = strconv.AppendInt(append(to, '-'), int64(t.number), 10)
	to = append(to, '"')
	if isFetched {
		to = append(to, `,"extensionProperties":{}`...)
	}
	return append(to, '}')
}

// appendVariables writes a String of the batch's size that begins with the task's marker, and a Json.
func appendVariables(to []byte, run string, t *task) []byte {
	to = append(to, `"variables":{"payload":{"type":"String","value":"`...)
	begin := len(to)
	to = append(to, fmt.Sprintf("BK%s-%07d|", run, t.number)...)
	for left := t.batch.size - (len(to) - begin); left > 0; left -= len(filler) {
		if left < len(filler) {
			to = append(to, filler[:left]...)
		} else {
			to = append(to, filler...)
		}
	}
	to = append(to, `","valueInfo":{}},"doc":{"type":"Json","value":`...)
	return append(append(to, doc...), `,"valueInfo":{}}},`...)
}

func appendText(to []byte, text *string) []byte {
	if text == nil {
		return append(to, "null"...)
	}
	return append(to, quoted(*text)...)
}

func appendName(to []byte, name string) []byte {
	if name == "" {
		return append(to, "null"...)
	}
	return append(to, quoted(name)...)
}

func appendMoment(to []byte, ms int64) []byte {
	if ms == 0 {
		return append(to, "null"...)
	}
	moment := time.Unix(ms/1000, ms%1000*1e6).UTC()
	return moment.AppendFormat(to, `"2006-01-02T15:04:05.000+0000"`)
}

func appendRetries(to []byte, retries int) []byte {
	if retries == noRetries {
		return append(to, "null"...)
	}
	return strconv.AppendInt(to, int64(retries), 10)
}

func quoted(text string) []byte {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err) // no text fails
	}
	return quoted
}
