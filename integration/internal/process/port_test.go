package process

import (
	"net"
	"strconv"
	"sync"
	"testing"
)

func TestNobodyIsGivenAPortTwice(t *testing.T) {
	var (
		all   sync.WaitGroup
		mu    sync.Mutex
		given = map[int]bool{}
	)
	for range 50 {
		all.Go(func() {
			first, err := FreePorts(3)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for port := first; port < first+3; port++ {
				if given[port] {
					t.Errorf("port %d was given twice", port)
				}
				given[port] = true
			}
		})
	}
	all.Wait()
}

func TestAFreeAddressCanBeListenedOn(t *testing.T) {
	address, err := FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() //nolint:errcheck // nothing was written
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := strconv.Atoi(port); err != nil || n >= 32768 {
		t.Errorf("%s is one that the system hands out by itself", address)
	}
}
