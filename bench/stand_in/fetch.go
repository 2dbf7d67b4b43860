package main

import (
	"net/http"
	"time"
)

type fetchRequest struct {
	WorkerID             *string        `json:"workerId"`
	MaxTasks             int            `json:"maxTasks"`
	AsyncResponseTimeout int64          `json:"asyncResponseTimeout"`
	Topics               []topicRequest `json:"topics"`
}

type topicRequest struct {
	TopicName    string `json:"topicName"`
	LockDuration int64  `json:"lockDuration"`
}

// fetchAndLock waits for tasks; where the client is gone meanwhile it locks them for nobody, as the engine does.
func (s *server) fetchAndLock(w http.ResponseWriter, body []byte) {
	s.tasks.note("fetchAndLock")
	var request fetchRequest
	if !decode(w, body, &request) {
		return
	}
	if refused := request.refused(); refused != nil {
		writeRefusal(w, refused)
		return
	}
	tasks, run := s.tasks.fetch(&request)
	if len(tasks) == 0 {
		s.tasks.note("fetchAndLock, no task")
	}
	writeRows(w, run, tasks, true)
}

func (r *fetchRequest) refused() *refusal {
	if r.WorkerID == nil {
		return noWorker
	}
	for _, topic := range r.Topics {
		if topic.LockDuration <= 0 {
			return &refusal{500, "ProcessEngineException", "lockTime is not greater than 0", "0"}
		}
	}
	return nil
}

// fetch returns copies of the tasks it locked. A lock that ends meanwhile is only seen when the waiting is over.
func (s *store) fetch(request *fetchRequest) ([]task, string) {
	timer := time.NewTimer(time.Duration(request.AsyncResponseTimeout) * time.Millisecond)
	defer timer.Stop()
	began, isOver := "", request.AsyncResponseTimeout <= 0
	for {
		tasks, run, appeared := s.lockNext(request)
		if began == "" {
			began = run
		}
		if len(tasks) > 0 || isOver || run != began {
			return tasks, run
		}
		select {
		case <-appeared:
		case <-timer.C:
			isOver = true
		}
	}
}

// lockNext locks up to the wanted number of tasks, the topics in turn; it also returns what to wait for.
func (s *store) lockNext(request *fetchRequest) ([]task, string, <-chan struct{}) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	now, taken := nowMs(), []task{}
	s.offerExpired(now)
	open := s.openTopics(request.Topics, now)
	for len(open) > 0 && len(taken) < request.MaxTasks {
		place := s.turn % len(open)
		topic := open[place]
		next := topic.pop()
		s.lock(next, *request.WorkerID, now+topic.lockMs)
		next.batch.noteFetched()
		taken = append(taken, *next)
		if topic.hasNext(now) {
			s.turn++
		} else {
			open = append(open[:place], open[place+1:]...)
		}
	}
	return taken, s.run, s.appeared
}

// openTopics returns those of the wanted topics that have tasks, once each; of two alike the last one counts.
func (s *store) openTopics(wanted []topicRequest, now int64) []*topic {
	s.fetches++
	open := []*topic{}
	for _, one := range wanted {
		t := s.topics[one.TopicName]
		if t == nil || !t.hasNext(now) {
			continue
		}
		if t.fetch != s.fetches {
			open = append(open, t)
		}
		t.fetch, t.lockMs = s.fetches, one.LockDuration
	}
	return open
}
