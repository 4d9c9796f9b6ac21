// Command hello is the program in the pods of the cluster's own test: a small server, and a client to try from a pod.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"time"
)

const patience = time.Second

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "hello:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "serve":
		return serve(args[1])
	case len(args) == 2 && args[0] == "get":
		return get(args[1])
	case len(args) == 2 && args[0] == "resolve":
		return resolve(args[1])
	}
	return fmt.Errorf("usage: hello serve ADDRESS | get URL | resolve NAME")
}

// Answers every request with the pod's name.
func serve(address string) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	answer := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, name) }
	server := http.Server{Addr: address, Handler: http.HandlerFunc(answer), ReadHeaderTimeout: patience}
	return server.ListenAndServe()
}

// Prints what is there. A pod trusts its cluster's certificate authority and no other.
func get(url string) error {
	authority, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(authority)
	transport := http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}}
	client := http.Client{Timeout: patience, Transport: &transport}
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	_, err = io.Copy(os.Stdout, io.LimitReader(response.Body, 1<<16))
	return err
}

func resolve(name string) error {
	deadline, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(deadline, name)
	for _, address := range addresses {
		fmt.Println(address)
	}
	return err
}
