// A static program that makes its system calls itself: HTTP server and client, and a datagram to itself.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

func fatal(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	switch os.Args[1] {
	case "serve":
		http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "hello from go to %s\n", r.RemoteAddr)
		})
		fatal(http.ListenAndServe(os.Args[2], nil))
	case "get":
		c := http.Client{Timeout: 20 * time.Second}
		r, err := c.Get(os.Args[2])
		fatal(err)
		_, err = io.Copy(os.Stdout, r.Body)
		fatal(err)
	case "udp":
		s, err := net.ListenPacket("udp4", os.Args[2])
		fatal(err)
		go func() {
			b := make([]byte, 2000)
			n, from, err := s.ReadFrom(b)
			fatal(err)
			_, err = s.WriteTo(append([]byte("echo: "), b[:n]...), from)
			fatal(err)
		}()
		c, err := net.Dial("udp4", s.LocalAddr().String())
		fatal(err)
		_, err = c.Write([]byte("a datagram"))
		fatal(err)
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		b := make([]byte, 2000)
		n, err := c.Read(b)
		fatal(err)
		fmt.Printf("%s\n", b[:n])
	}
}
