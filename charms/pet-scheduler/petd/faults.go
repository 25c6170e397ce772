//go:build faults

package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Files of a daemon that is built for the fault suite (tests/faults/pets). It writes each
// step that it has made into stepsFile. When faultFile is there it dies ("kill N") or
// freezes ("freeze N") after the N-th step since then, or after the next one of that name
// ("kill move c1"); it takes the file away first. The suite has systemd make the folder.
const (
	stepsFile = "/run/pet-scheduler-faults/steps"
	faultFile = "/run/pet-scheduler-faults/fault"
)

func init() {
	var mu sync.Mutex
	made := 0
	after = func(step string) {
		mu.Lock()
		defer mu.Unlock()
		note(step)
		text, err := os.ReadFile(faultFile)
		if err != nil {
			made = 0
			return
		}
		made++
		how, when, _ := bytes.Cut(bytes.TrimSpace(text), []byte(" "))
		if string(when) != strconv.Itoa(made) && string(when) != step {
			return
		}
		made = 0
		_ = os.Remove(faultFile)
		note(string(how))
		signal := syscall.SIGKILL
		if string(how) == "freeze" {
			signal = syscall.SIGSTOP
		}
		_ = syscall.Kill(os.Getpid(), signal)
	}
}

func note(line string) {
	f, err := os.OpenFile(stepsFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	fmt.Fprintln(f, time.Now().UnixMilli(), line)
}
