package main

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// filter is a query for open tasks; what it does not name is any.
type filter struct {
	ExternalTaskIDIn []string `json:"externalTaskIdIn"`
	WorkerID         string   `json:"workerId"`
	TopicName        string   `json:"topicName"`
	Locked           bool     `json:"locked"`
	NotLocked        bool     `json:"notLocked"`
	WithRetriesLeft  bool     `json:"withRetriesLeft"`
	NoRetriesLeft    bool     `json:"noRetriesLeft"`
}

func (f *filter) read(query url.Values) {
	if ids := query.Get("externalTaskIdIn"); ids != "" {
		f.ExternalTaskIDIn = strings.Split(ids, ",")
	}
	f.WorkerID, f.TopicName = query.Get("workerId"), query.Get("topicName")
	f.Locked, f.NotLocked = query.Get("locked") == "true", query.Get("notLocked") == "true"
	f.WithRetriesLeft = query.Get("withRetriesLeft") == "true"
	f.NoRetriesLeft = query.Get("noRetriesLeft") == "true"
}

func (f *filter) accepts(t *task, now int64) bool {
	return !t.isDone &&
		(f.WorkerID == "" || f.WorkerID == t.worker) &&
		(f.TopicName == "" || f.TopicName == t.topic.name) &&
		(!f.Locked || t.isLocked(now)) &&
		(!f.NotLocked || !t.isLocked(now)) &&
		(!f.WithRetriesLeft || t.retries != 0) &&
		(!f.NoRetriesLeft || t.retries == 0)
}

// query lists or counts open tasks, oldest first whatever order is asked for.
func (s *server) query(w http.ResponseWriter, r *http.Request, body []byte) {
	s.tasks.note("query")
	first, firstFits := parameter(r.URL.Query(), "firstResult", 0)
	most, mostFits := parameter(r.URL.Query(), "maxResults", -1)
	if !firstFits || !mostFits {
		writeRefusal(w, &refusal{404, "QueryParamException", "HTTP 404 Not Found", "null"})
		return
	}
	var wanted filter
	if r.Method == "GET" {
		wanted.read(r.URL.Query())
	} else if !decode(w, body, &wanted) {
		return
	}
	found, run := s.tasks.matches(&wanted)
	if r.URL.Path == ofCount {
		writeJSON(w, map[string]int{"count": len(found)})
		return
	}
	writeRows(w, run, page(found, first, most), false)
}

// parameter returns a number of the query; false where it is none.
func parameter(query url.Values, name string, otherwise int) (int, bool) {
	text := query.Get(name)
	if text == "" {
		return otherwise, true
	}
	value, err := strconv.Atoi(text)
	return value, err == nil && value >= 0
}

func page(tasks []task, first, most int) []task {
	if first > len(tasks) {
		first = len(tasks)
	}
	tasks = tasks[first:]
	if most >= 0 && most < len(tasks) {
		tasks = tasks[:most]
	}
	return tasks
}

// matches returns copies of the open tasks that fit. By ids it looks at these alone, else at all.
func (s *store) matches(wanted *filter) ([]task, string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	now, found := nowMs(), []task{}
	candidates := s.tasks
	if len(wanted.ExternalTaskIDIn) > 0 {
		candidates = s.named(wanted.ExternalTaskIDIn)
	}
	for _, t := range candidates {
		if wanted.accepts(t, now) {
			found = append(found, *t)
		}
	}
	return found, s.run
}

func (s *store) named(ids []string) []*task {
	named := []*task{}
	for _, id := range ids {
		if t := s.byID(id); t != nil {
			named = append(named, t)
		}
	}
	return named
}

func (s *server) readOne(w http.ResponseWriter, id string) {
	s.tasks.note("read")
	found, run := s.tasks.matches(&filter{ExternalTaskIDIn: []string{id}})
	if len(found) == 0 {
		writeRefusal(w, gone(id, "null"))
		return
	}
	writeBytes(w, appendRow(nil, run, &found[0], false))
}

func (s *server) topicNames(w http.ResponseWriter, r *http.Request) {
	s.tasks.note("topic-names")
	writeJSON(w, s.tasks.topicNames(r.URL.Query().Get("withUnlockedTasks") == "true"))
}

func (s *store) topicNames(withUnlockedTasks bool) []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	now, names := nowMs(), []string{}
	s.offerExpired(now)
	for _, t := range s.ordered {
		if t.open > 0 && (!withUnlockedTasks || t.hasNext(now)) {
			names = append(names, t.name)
		}
	}
	return names
}
