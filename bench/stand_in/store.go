package main

import (
	"container/heap"
	"fmt"
	"math/rand"
	"sync"
	"time"
)

const noRetries = -1 // null at the engine: no failure so far

// task is an external task; its id is made of its number, its variables when it is fetched.
type task struct {
	number                     int
	topic                      *topic
	batch                      *batch
	worker                     string // stays after the lock has ended; empty: nobody's
	lockEnds                   int64  // Unix milliseconds; 0: no lock
	createdAt                  int64
	retries                    int
	errorMessage, errorDetails *string
	isQueued, isDone           bool
}

// topic keeps the tasks that wait, oldest first; some of them may have been locked or answered for since.
type topic struct {
	name    string
	waiting []*task
	open    int
	fetch   int // the last fetch that wanted its tasks, and for how long
	lockMs  int64
}

// batch is what one control call asked for, and what became of it.
type batch struct {
	count, size    int
	topics         []*topic
	Created        int     `json:"created"`
	Fetched        int     `json:"fetched"`
	Completed      int     `json:"completed"`
	CompletedTwice int     `json:"completed_twice"`
	FirstLock      float64 `json:"first_lock"`
	LastCompletion float64 `json:"last_completion"`
}

// store holds all tasks. What the server calls locks the mutex; what these methods call wants it locked.
type store struct {
	mutex    sync.Mutex
	run      string
	tasks    []*task
	topics   map[string]*topic
	ordered  []*topic
	batches  []*batch
	lockEnds lockEnds
	calls    map[string]int
	fetches  int
	turn     int           // which topic is next
	appeared chan struct{} // closed when there may be something for a poll that waits
}

func newStore() *store {
	s := &store{appeared: make(chan struct{})}
	s.reset()
	return s
}

// reset forgets everything and begins a new run, whose ids are others; polls that wait end without a task.
func (s *store) reset() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.run = fmt.Sprintf("%08x", rand.New(rand.NewSource(time.Now().UnixNano())).Uint32())
	s.tasks, s.ordered, s.batches, s.lockEnds = nil, nil, []*batch{}, nil
	s.topics, s.calls = map[string]*topic{}, map[string]int{}
	s.wake()
}

// note counts a call.
func (s *store) note(name string) {
	s.mutex.Lock()
	s.calls[name]++
	s.mutex.Unlock()
}

// wake lets every poll that waits look again.
func (s *store) wake() {
	close(s.appeared)
	s.appeared = make(chan struct{})
}

// fill makes tasks, the topics in turn; at most atOnce are open at a time, the others follow.
func (s *store) fill(topics []string, count, size, atOnce int) int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	b := &batch{count: count, size: size}
	for _, name := range topics {
		b.topics = append(b.topics, s.topicOf(name))
	}
	s.batches = append(s.batches, b)
	for b.Created < count && b.Created < atOnce {
		s.create(b)
	}
	s.wake()
	return len(s.batches) - 1
}

func (s *store) topicOf(name string) *topic {
	t := s.topics[name]
	if t == nil {
		t = &topic{name: name}
		s.topics[name] = t
		s.ordered = append(s.ordered, t)
	}
	return t
}

func (s *store) create(b *batch) {
	t := &task{number: len(s.tasks), topic: b.topics[b.Created%len(b.topics)], batch: b}
	t.createdAt, t.retries = nowMs(), noRetries
	s.tasks = append(s.tasks, t)
	b.Created++
	t.topic.open++
	t.offer()
}

// offer puts a task into its topic's queue, where it is not there yet.
func (t *task) offer() {
	if !t.isQueued {
		t.isQueued = true
		t.topic.waiting = append(t.topic.waiting, t)
	}
}

// hasNext drops from the head of the queue what cannot be fetched any more; false where nothing is left.
func (t *topic) hasNext(now int64) bool {
	for len(t.waiting) > 0 && !t.waiting[0].isFetchable(now) {
		t.pop()
	}
	return len(t.waiting) > 0
}

func (t *topic) pop() *task {
	first := t.waiting[0]
	first.isQueued = false
	t.waiting[0] = nil // its place is kept until the queue grows
	t.waiting = t.waiting[1:]
	return first
}

func (t *task) isLocked(now int64) bool { return t.lockEnds > now }

func (t *task) isFetchable(now int64) bool { return !t.isDone && t.retries != 0 && !t.isLocked(now) }

// lock gives a task to a worker until a moment, at which it is offered again.
func (s *store) lock(t *task, worker string, ends int64) {
	t.worker, t.lockEnds = worker, ends
	heap.Push(&s.lockEnds, lockEnd{ends, t})
}

// offerExpired offers the tasks whose locks have ended.
func (s *store) offerExpired(now int64) {
	for len(s.lockEnds) > 0 && s.lockEnds[0].at <= now {
		if t := heap.Pop(&s.lockEnds).(lockEnd).task; t.isFetchable(now) {
			t.offer()
		}
	}
}

// end closes a task that was answered for, and lets the next of its batch follow.
func (s *store) end(t *task) {
	t.isDone = true
	t.topic.open--
	b := t.batch
	b.Completed++
	b.LastCompletion = nowSeconds()
	if b.Created < b.count {
		s.create(b)
		s.wake()
	}
}

func (b *batch) noteFetched() {
	if b.Fetched == 0 {
		b.FirstLock = nowSeconds()
	}
	b.Fetched++
}

// byID returns a task, also one that is done; nil where there never was one.
func (s *store) byID(id string) *task {
	number, ok := numberOf(s.run, id)
	if !ok || number >= len(s.tasks) {
		return nil
	}
	return s.tasks[number]
}

// lockEnd says when to look at a task again; it is out of date where the lock was changed since.
type lockEnd struct {
	at   int64
	task *task
}

type lockEnds []lockEnd

func (l lockEnds) Len() int            { return len(l) }
func (l lockEnds) Less(i, j int) bool  { return l[i].at < l[j].at }
func (l lockEnds) Swap(i, j int)       { l[i], l[j] = l[j], l[i] }
func (l *lockEnds) Push(x interface{}) { *l = append(*l, x.(lockEnd)) }
func (l *lockEnds) Pop() interface{} {
	last := (*l)[len(*l)-1]
	(*l)[len(*l)-1].task = nil
	*l = (*l)[:len(*l)-1]
	return last
}

func nowMs() int64 { return time.Now().UnixNano() / 1e6 }

func nowSeconds() float64 { return float64(time.Now().UnixNano()) / 1e9 }
