package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/waybill/waybill/integration/pipeline/services/blobs"
	"github.com/waybill/waybill/integration/pipeline/services/downloader"
	"github.com/waybill/waybill/integration/pipeline/services/transformer"
	"github.com/waybill/waybill/integration/pipeline/services/uploader"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "services:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("want download, upload, transform or rows")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:0", "host:port")
	dir := flags.String("dir", "", "where repositories are cloned to")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	absolute, err := filepath.Abs(*dir)
	if err != nil {
		return err
	}
	if args[0] == "download" {
		return serve(ctx, *listen, downloader.Handler(absolute))
	}
	storage, err := blobs.Storage()
	if err != nil {
		return err
	}
	switch args[0] {
	case "upload":
		return serve(ctx, *listen, uploader.Handler(storage, absolute))
	case "transform":
		return serve(ctx, *listen, transformer.Handler(storage))
	case "rows":
		if flags.NArg() != 2 {
			return errors.New("rows: want CONTAINER BLOB")
		}
		rows, err := transformer.ReadBack(ctx, storage, flags.Arg(0), flags.Arg(1))
		for _, row := range rows {
			err = errors.Join(err, json.NewEncoder(os.Stdout).Encode(row))
		}
		return err
	}
	return fmt.Errorf("there is no service %q", strings.ToValidUTF8(args[0], "?"))
}

// serve answers until ctx ends.
func serve(ctx context.Context, listen string, h http.Handler) error {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
