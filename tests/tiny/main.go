// Command tiny is the whole userland of the instances that the real suites start inside
// the LXD cluster: process 1 that does nothing until it is told to end. An image of it is
// 1 MB, so dozens can be moved about on a small machine. With ENDS_AFTER in its environment
// (`lxc launch -c environment.ENDS_AFTER=2s`) it takes so long to end, as services do that
// have something to finish.
//
// With WRITES in its environment it rewrites small files all the time, as a database does.
//
// It keeps a diary, /diary: "up", "end" and "ended" with the time, when it begins, when it is told
// to end, and when it has. The diary moves with the instance and reports how long that was down, and
// whether it was killed on its way.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	// LXC asks a container to shut down by SIGPWR, or by SIGRTMIN+3 when process 1 blocks
	// that, as systemd does and as is inherited here; and to reboot by SIGINT.
	const sigrtmin3 = syscall.Signal(34 + 3)
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGPWR, sigrtmin3, syscall.SIGTERM, syscall.SIGINT)
	note("up")
	if os.Getenv("WRITES") != "" {
		go write()
	}
	<-end
	note("end")
	if last, err := time.ParseDuration(os.Getenv("ENDS_AFTER")); err == nil {
		time.Sleep(last)
	}
	note("ended")
}

// write rewrites 400 files of 4 KiB in place, about five hundred of them a second.
func write() {
	block := make([]byte, 4096)
	_ = os.Mkdir("/writes", 0o755)
	for n := 0; ; n++ {
		for i := range block {
			block[i] = byte(n + i)
		}
		file, err := os.OpenFile(fmt.Sprintf("/writes/%03d", n%400), os.O_CREATE|os.O_WRONLY, 0o644)
		if err == nil {
			_, _ = file.Write(block)
			_ = file.Close()
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// note writes a line into the diary. An instance whose disk is full lives on.
func note(what string) {
	file, err := os.OpenFile("/diary", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return
	}
	defer file.Close()
	fmt.Fprintf(file, "%s %d\n", what, time.Now().UnixMilli())
}
