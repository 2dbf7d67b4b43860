// A stand-in for the Camunda engine: the external task REST API as this project uses it, from memory and fast.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"strconv"
	"strings"
)

const (
	base     = "/engine-rest"
	ofTasks  = base + "/external-task"
	ofFetch  = ofTasks + "/fetchAndLock"
	ofTopics = ofTasks + "/topic-names"
	ofCount  = ofTasks + "/count"
)

// refusal is an answer other than 200 and 204, as the engine writes it; code is JSON.
type refusal struct {
	status              int
	kind, message, code string
}

var noWorker = &refusal{500, "NullValueException", "workerId is null", "0"}

// server speaks HTTP for one store.
type server struct{ tasks *store }

func main() {
	port := flag.Int("port", 8080, "port of the loopback interface")
	flag.Parse()
	address := fmt.Sprintf("127.0.0.1:%d", *port)
	log.Fatal(http.ListenAndServe(address, &server{newStore()}))
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client is gone
	}
	switch r.Method + " " + r.URL.Path {
	case "GET " + base + "/engine":
		writeJSON(w, []map[string]string{{"name": "default"}})
	case "GET " + base + "/version":
		s.tasks.note("version")
		writeJSON(w, map[string]string{"version": "7.24.0"})
	case "POST " + ofFetch:
		s.fetchAndLock(w, body)
	case "GET " + ofTopics:
		s.topicNames(w, r)
	case "GET " + ofTasks, "POST " + ofTasks, "GET " + ofCount, "POST " + ofCount:
		s.query(w, r, body)
	case "POST /stand-in/tasks", "GET /stand-in/figures", "POST /stand-in/reset":
		s.control(w, r, body)
	default:
		s.oneTask(w, r, body)
	}
}

// oneTask serves the calls whose path names a task: external-task/ID and external-task/ID/CALL.
func (s *server) oneTask(w http.ResponseWriter, r *http.Request, body []byte) {
	id, name, hasName := strings.Cut(strings.TrimPrefix(r.URL.Path, ofTasks+"/"), "/")
	_, isCall := calls[name]
	switch {
	case !strings.HasPrefix(r.URL.Path, ofTasks+"/"):
		writeRefusal(w, &refusal{404, "NotFoundException", "HTTP 404 Not Found", "null"})
	case r.Method == "GET" && !hasName:
		s.readOne(w, id)
	case r.Method == "POST" && isCall:
		s.answer(w, id, name, body)
	default:
		writeRefusal(w, &refusal{404, "NotFoundException", "HTTP 404 Not Found", "null"})
	}
}

func (s *server) answer(w http.ResponseWriter, id, name string, body []byte) {
	var given answer
	if !decode(w, body, &given) {
		return
	}
	if refused := s.tasks.act(id, name, &given); refused != nil {
		writeRefusal(w, refused)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// decode reads a JSON body; one that is none is answered in plain text, as by the engine, and gives false.
func decode(w http.ResponseWriter, body []byte, into interface{}) bool {
	if len(body) == 0 {
		return true
	}
	if err := json.Unmarshal(body, into); err != nil {
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintln(w, err)
		return false
	}
	return true
}

func writeRefusal(w http.ResponseWriter, r *refusal) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(r.status)
	fmt.Fprintf(w, `{"type":%s,"message":%s,"code":%s}`, quoted(r.kind), quoted(r.message), r.code)
}

func writeJSON(w http.ResponseWriter, document interface{}) {
	body, err := json.Marshal(document)
	if err != nil {
		panic(err) // only what is built here comes here
	}
	writeBytes(w, body)
}

func writeBytes(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}
