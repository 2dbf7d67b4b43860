package main

import "fmt"

const longestErrorMessage = 666

// answer is the body of every call on one task.
type answer struct {
	WorkerID     *string `json:"workerId"`
	Retries      int     `json:"retries"`
	RetryTimeout int64   `json:"retryTimeout"`
	ErrorMessage *string `json:"errorMessage"`
	ErrorDetails *string `json:"errorDetails"`
	ErrorCode    *string `json:"errorCode"`
	NewDuration  int64   `json:"newDuration"`
	LockDuration int64   `json:"lockDuration"`
}

// call is one of the calls on a task: `check` looks at its body alone, `do` runs while the store is locked.
type call struct {
	check func(given *answer) *refusal
	do    func(s *store, t *task, given *answer, now int64) *refusal
}

var calls = map[string]call{
	"complete":   {hasWorker, complete},
	"failure":    {hasWorker, failure},
	"bpmnError":  {hasErrorCode, bpmnError},
	"extendLock": {hasNewDuration, extendLock},
	"lock":       {hasLockDuration, lock},
	"unlock":     {func(*answer) *refusal { return nil }, unlock},
}

// act does a call, or says why not.
func (s *store) act(id, name string, given *answer) *refusal {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.calls[name]++
	if refused := calls[name].check(given); refused != nil {
		return refused
	}
	t := s.byID(id)
	if t != nil && t.isDone && name == "complete" {
		t.batch.CompletedTwice++
	}
	if t == nil || t.isDone {
		return gone(id, "0")
	}
	return calls[name].do(s, t, given, nowMs())
}

func hasWorker(given *answer) *refusal {
	if given.WorkerID == nil {
		return noWorker
	}
	return nil
}

func hasErrorCode(given *answer) *refusal {
	if given.WorkerID != nil && given.ErrorCode == nil {
		return &refusal{500, "NullValueException", "errorCode is null", "0"}
	}
	return hasWorker(given)
}

func hasNewDuration(given *answer) *refusal {
	if given.WorkerID != nil && given.NewDuration <= 0 {
		return badRequest("lockTime is not greater than 0")
	}
	return hasWorker(given)
}

func hasLockDuration(given *answer) *refusal {
	if given.WorkerID != nil && given.LockDuration <= 0 {
		return badRequest("lockDuration is not greater than 0")
	}
	return hasWorker(given)
}

func badRequest(message string) *refusal { return &refusal{400, "RestException", message, "0"} }

func gone(id, code string) *refusal {
	return &refusal{404, "RestException", fmt.Sprintf("External task with id %s does not exist", id), code}
}

// foreign refuses a worker that is not the last one that locked the task, whether or not that lock has ended.
func (s *store) foreign(t *task, given *answer, says string) *refusal {
	if t.worker == *given.WorkerID {
		return nil
	}
	owner := t.worker
	if owner == "" {
		owner = "null"
	}
	says = fmt.Sprintf(says, taskID(s.run, t.number), *given.WorkerID)
	return badRequest(fmt.Sprintf("%s. It is locked by worker '%s'.", says, owner))
}

func complete(s *store, t *task, given *answer, _ int64) *refusal {
	refused := s.foreign(t, given, "External Task %s cannot be completed by worker '%s'")
	if refused == nil {
		s.end(t)
	}
	return refused
}

func bpmnError(s *store, t *task, given *answer, _ int64) *refusal {
	refused := s.foreign(t, given, "Bpmn error of External Task %s cannot be reported by worker '%s'")
	if refused == nil {
		s.end(t)
	}
	return refused
}

func failure(s *store, t *task, given *answer, now int64) *refusal {
	refused := s.foreign(t, given, "Failure of External Task %s cannot be reported by worker '%s'")
	if refused == nil {
		t.retries, t.errorMessage, t.errorDetails = given.Retries, cut(given.ErrorMessage), given.ErrorDetails
		s.lock(t, t.worker, now+given.RetryTimeout)
	}
	return refused
}

func cut(message *string) *string {
	if message == nil || len([]rune(*message)) <= longestErrorMessage {
		return message
	}
	short := string([]rune(*message)[:longestErrorMessage])
	return &short
}

func extendLock(s *store, t *task, given *answer, now int64) *refusal {
	// The engine's own text has two quotes there.
	refused := s.foreign(t, given, "The lock of the External Task %s cannot be extended by worker '%s''")
	if refused == nil && !t.isLocked(now) {
		says := "Cannot extend a lock that expired: lockExpirationTime is not greater than or equal to %d"
		refused = badRequest(fmt.Sprintf(says, now))
	}
	if refused == nil {
		s.lock(t, t.worker, now+given.NewDuration)
	}
	return refused
}

func lock(s *store, t *task, given *answer, now int64) *refusal {
	if t.isLocked(now) {
		refused := s.foreign(t, given, "External Task %s cannot be locked by worker '%s'")
		if refused != nil {
			return refused
		}
	}
	s.lock(t, *given.WorkerID, now+given.LockDuration)
	return nil
}

func unlock(s *store, t *task, _ *answer, now int64) *refusal {
	t.worker, t.lockEnds = "", 0
	if t.isFetchable(now) {
		t.offer()
		s.wake()
	}
	return nil
}
