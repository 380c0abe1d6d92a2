package main

import (
	"math"
	"sync"
	"time"
)

// limiters has a token bucket for each address, as the tutorial has it: a map under a lock, never swept.
type limiters struct {
	lock        sync.Mutex
	rate, burst float64
	buckets     map[string]*bucket
}

type bucket struct {
	tokens float64
	last   time.Time
}

func newLimiters(rate, burst float64) *limiters {
	return &limiters{rate: rate, burst: burst, buckets: make(map[string]*bucket)}
}

// allow takes a token from the bucket of an address; false if it is empty.
func (l *limiters) allow(address string) bool {
	l.lock.Lock()
	defer l.lock.Unlock()
	now := time.Now()
	b, known := l.buckets[address]
	if !known {
		b = &bucket{tokens: l.burst, last: now}
		l.buckets[address] = b
	}
	b.tokens = math.Min(l.burst, b.tokens+now.Sub(b.last).Seconds()*l.rate)
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
