package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
)

// signalError is why a context ended: a signal that ends the process.
type signalError struct{ syscall.Signal }

// Error implements error.
func (e signalError) Error() string {
	return fmt.Sprintf("ended by signal %d (%s)", int(e.Signal), e.Signal)
}

// status is the exit status of a process that the signal ended, as a shell has it.
func (e signalError) status() int { return 128 + int(e.Signal) }

// byContext is true from the call of endByContext on.
var byContext atomic.Bool

// endByContext has a signal end the verb through its context from now on, for one that has
// something to clean up or to report. Whatever it waits for after that has to heed the context.
func endByContext() { byContext.Store(true) }

// watchSignals ends the process on SIGINT and SIGTERM: at once, or, after a call of
// endByContext, through the context. A second signal ends it at once in any case.
func watchSignals(stop context.CancelCauseFunc) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		for again := false; ; again = true {
			ended := signalError{(<-signals).(syscall.Signal)}
			if again || !byContext.Load() {
				os.Exit(ended.status())
			}
			stop(ended)
		}
	}()
}
