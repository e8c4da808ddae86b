// A peer: as many goroutines as the argument says, that sleep for a millisecond each. Prints the seconds from the
// first go statement until all have ended.
package main

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	n, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	var all sync.WaitGroup
	var slept int64
	all.Add(n)
	begin := time.Now()
	for i := 0; i < n; i++ {
		go func() {
			from := time.Now()
			time.Sleep(time.Millisecond)
			if time.Since(from) >= time.Millisecond {
				atomic.AddInt64(&slept, 1)
			}
			all.Done()
		}()
	}
	all.Wait()
	seconds := time.Since(begin).Seconds()
	if slept != int64(n) {
		panic("a sleep did not sleep")
	}
	fmt.Println(seconds)
}
