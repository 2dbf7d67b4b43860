package main

import "net/http"

// fillRequest asks for tasks; at most AtOnce of them are open at a time, 0: all.
type fillRequest struct {
	Count  int      `json:"count"`
	Topics []string `json:"topics"`
	Size   int      `json:"size"`
	AtOnce int      `json:"at_once"`
}

type figures struct {
	Run     string         `json:"run"`
	Calls   map[string]int `json:"calls"`
	Batches []*batch       `json:"batches"`
}

// control serves what the engine has not: making tasks, reading the counts, beginning anew.
func (s *server) control(w http.ResponseWriter, r *http.Request, body []byte) {
	switch r.URL.Path {
	case "/stand-in/tasks":
		s.fill(w, body)
	case "/stand-in/reset":
		s.tasks.reset()
		s.tasks.writeFigures(w)
	default:
		s.tasks.writeFigures(w)
	}
}

func (s *server) fill(w http.ResponseWriter, body []byte) {
	var request fillRequest
	if !decode(w, body, &request) {
		return
	}
	if len(request.Topics) == 0 {
		writeRefusal(w, badRequest("topics is empty"))
		return
	}
	if request.AtOnce <= 0 {
		request.AtOnce = request.Count
	}
	number := s.tasks.fill(request.Topics, request.Count, request.Size, request.AtOnce)
	writeJSON(w, map[string]int{"batch": number})
}

func (s *store) writeFigures(w http.ResponseWriter) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	writeJSON(w, figures{s.run, s.calls, s.batches})
}
