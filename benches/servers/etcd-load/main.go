// Command etcd-load asks etcd in a closed loop and prints one JSON object: so many clients over so many
// connections, each of which asks again when it is answered.
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/etcd/clientv3"
)

var (
	endpoints   = flag.String("endpoints", "127.0.0.1:2379", "whom to ask, connections in turn")
	clients     = flag.Int("clients", 1, "requests under way")
	connections = flag.Int("connections", 16, "connections, no more than there are clients")
	seconds     = flag.Float64("seconds", 3, "what is measured")
	warmup      = flag.Float64("warmup", 1, "what goes before it")
	valueSize   = flag.Int("value-size", 256, "bytes of a value")
	keys        = flag.Int("keys", 100000, "different keys of 8 bytes, by chance")
	operation   = flag.String("op", "put", "put, get (linearizable), or load: every key once")
)

// client is one closed loop.
type client struct {
	etcd      *clientv3.Client
	chance    *rand.Rand
	value     string
	latencies []int64
	answered  int
	errors    int
}

func (c *client) ask(key uint64) error {
	var bytes [8]byte
	binary.BigEndian.PutUint64(bytes[:], key)
	if *operation == "get" {
		got, err := c.etcd.Get(context.Background(), string(bytes[:]))
		if err == nil && len(got.Kvs) != 1 {
			return fmt.Errorf("absent")
		}
		return err
	}
	_, err := c.etcd.Put(context.Background(), string(bytes[:]), c.value)
	return err
}

// measure asks until the end; what began in the time that is measured counts.
func (c *client) measure(from, until time.Time) {
	for {
		begun := time.Now()
		if begun.After(until) {
			return
		}
		err := c.ask(uint64(c.chance.Intn(*keys)))
		answered := time.Now()
		if begun.Before(from) {
			continue
		}
		if err != nil {
			c.errors++
			continue
		}
		c.latencies = append(c.latencies, answered.Sub(begun).Microseconds())
		if answered.Before(until) {
			c.answered++
		}
	}
}

// load writes every count-th key from first on.
func (c *client) load(first, count int) {
	for key := first; key < *keys; key += count {
		if c.ask(uint64(key)) != nil {
			c.errors++
		}
	}
}

func cpu() float64 {
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
}

func main() {
	flag.Parse()
	all := strings.Split(*endpoints, ",")
	count := *connections
	if *clients < count {
		count = *clients
	}
	var connected []*clientv3.Client
	for number := 0; number < count; number++ {
		etcd, err := clientv3.New(clientv3.Config{
			Endpoints:   []string{all[number%len(all)]},
			DialTimeout: 5 * time.Second,
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		connected = append(connected, etcd)
	}
	start := time.Now()
	from := start.Add(time.Duration(*warmup * float64(time.Second)))
	until := from.Add(time.Duration(*seconds * float64(time.Second)))
	loops := make([]*client, *clients)
	var group sync.WaitGroup
	for number := range loops {
		chance := rand.New(rand.NewSource(start.UnixNano() + int64(number)))
		value := make([]byte, *valueSize)
		chance.Read(value)
		loop := &client{etcd: connected[number%count], chance: chance, value: string(value)}
		loops[number] = loop
		group.Add(1)
		go func(number int) {
			defer group.Done()
			if *operation == "load" {
				loop.load(number, *clients)
			} else {
				loop.measure(from, until)
			}
		}(number)
	}
	time.Sleep(time.Until(from))
	begun := cpu()
	time.Sleep(time.Until(until))
	used := cpu() - begun
	group.Wait()
	var latencies []int64
	answered, errors := 0, 0
	for _, loop := range loops {
		latencies = append(latencies, loop.latencies...)
		answered += loop.answered
		errors += loop.errors
	}
	sort.Slice(latencies, func(a, b int) bool { return latencies[a] < latencies[b] })
	at := func(quantile float64) int64 {
		if len(latencies) == 0 {
			return 0
		}
		place := int(quantile * float64(len(latencies)))
		if place >= len(latencies) {
			place = len(latencies) - 1
		}
		return latencies[place]
	}
	told, _ := json.Marshal(map[string]interface{}{
		"ops_per_second": float64(answered) / *seconds,
		"count":          len(latencies),
		"errors":         errors,
		"client_cores":   used / *seconds,
		"p50_us":         at(0.5), "p99_us": at(0.99), "p999_us": at(0.999), "max_us": at(1),
	})
	fmt.Println(string(told))
}
