// An upload service after the tutorial that everybody starts from: a token bucket for each address, a channel
// of jobs, and a pool of goroutines that resize. The standard library alone. Arguments: the folder for the
// images; the length of the queue.
package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
)

const (
	rate           = 2.0
	burst          = 10.0
	maxUploadBytes = 32 << 20
)

type job struct {
	id    string
	photo []byte
}

type service struct {
	folder   string
	limiters *limiters
	jobs     chan job
}

func (s *service) upload(w http.ResponseWriter, r *http.Request) {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	if !s.limiters.allow(host) {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many requests", http.StatusTooManyRequests)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxUploadBytes)
	file, _, err := r.FormFile("file")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	defer file.Close()
	var photo bytes.Buffer
	if _, err := io.Copy(&photo, file); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id := newID()
	select {
	case s.jobs <- job{id, photo.Bytes()}:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		json.NewEncoder(w).Encode(map[string]string{"id": id})
	default:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "the queue is full", http.StatusServiceUnavailable)
	}
}

func (s *service) work() {
	for j := range s.jobs {
		if err := resizeAll(j.photo, filepath.Join(s.folder, j.id)); err != nil {
			log.Printf("job %s: %v", j.id, err)
		}
	}
}

func newID() string {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		panic(err)
	}
	return hex.EncodeToString(id[:])
}

func main() {
	if len(os.Args) < 2 {
		log.Fatal("usage: golang FOLDER [QUEUE_SIZE]")
	}
	size := 100
	if len(os.Args) > 2 {
		parsed, err := strconv.Atoi(os.Args[2])
		if err != nil {
			log.Fatal(err)
		}
		size = parsed
	}
	s := &service{folder: os.Args[1], limiters: newLimiters(rate, burst), jobs: make(chan job, size)}
	for i := 0; i < runtime.NumCPU(); i++ {
		go s.work()
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http://%s\n", listener.Addr())
	http.HandleFunc("/v1/images", s.upload)
	log.Fatal(http.Serve(listener, nil))
}
