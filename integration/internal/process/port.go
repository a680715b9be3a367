package process

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"syscall"
)

// FreeAddress finds an address nobody listens on. It lies below the ports that the system
// hands out by itself, so that it stays free while a process that is killed is down.
func FreeAddress() (string, error) {
	port, err := FreePorts(1)
	return address(port), err
}

// FreePorts finds so many ports in a row, like FreeAddress, and returns the first. Nobody else is given
// one of them while this program runs: scenarios are played side by side.
func FreePorts(n int) (first int, err error) {
	// Scripts do the same (free_ports), with the same file: a line for each port, and whose it is.
	claims, err := os.OpenFile("/tmp/waybill-ports-"+strconv.Itoa(os.Getuid()), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, claims.Close()) }() // which unlocks it
	if err := syscall.Flock(int(claims.Fd()), syscall.LOCK_EX); err != nil {
		return 0, fmt.Errorf("lock %s: %w", claims.Name(), err)
	}
	taken := claimed(claims)
	for range 200 {
		first = 15000 + rand.IntN(15000-n) //nolint:gosec // a port, no secret
		if !free(first, n, taken) {
			continue
		}
		for port := first; port < first+n; port++ {
			taken[port] = os.Getpid()
		}
		return first, claim(claims, taken)
	}
	return 0, fmt.Errorf("no %d free ports were found between 15000 and 30000", n)
}

// claimed reads the claims of those who live.
func claimed(claims *os.File) map[int]int {
	taken := map[int]int{}
	lines := bufio.NewScanner(claims)
	for lines.Scan() {
		var port, pid int
		if n, _ := fmt.Sscan(lines.Text(), &port, &pid); n == 2 && syscall.Kill(pid, 0) == nil {
			taken[port] = pid
		}
	}
	return taken
}

func claim(claims *os.File, taken map[int]int) error {
	if err := claims.Truncate(0); err != nil {
		return err
	}
	for port, pid := range taken {
		if _, err := fmt.Fprintln(claims, port, pid); err != nil {
			return err
		}
	}
	return nil
}

func free(first, n int, taken map[int]int) bool {
	for port := first; port < first+n; port++ {
		if taken[port] != 0 {
			return false
		}
		ln, err := net.Listen("tcp", address(port)) //nolint:noctx // closed at once
		if err != nil {
			return false
		}
		if ln.Close() != nil {
			return false
		}
	}
	return true
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
