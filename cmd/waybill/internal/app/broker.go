package app

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/waybill/waybill/internal/embedded"
	"github.com/waybill/waybill/projections"
)

// RunBroker runs the embedded broker alone until ctx ends, in the place below dir where
// a Main would have its own.
func RunBroker(ctx context.Context, dir string, insecure bool, cfg embedded.Config) error {
	if err := checkAddress("--kafka-listen", cfg.Listen); err != nil {
		return err
	}
	if !insecure && !loopback(cfg.Listen) {
		return usage("--kafka-listen %s can be reached from outside, and the broker asks nobody who they are: it needs --insecure said aloud", cfg.Listen)
	}
	d, err := openData(dir)
	if err != nil {
		return err
	}
	cfg.Dir = d.brokerDir()
	b, err := embedded.Start(ctx, cfg)
	if err != nil {
		return errors.Join(&UsageError{err}, d.close())
	}
	logHealed(cfg.Logger, b)
	cfg.Logger.Info("broker is up", "kafka", b.Addr(), "data", dir)
	<-ctx.Done()
	return errors.Join(b.Close(), d.close())
}

// ForgetProjections removes the SQLite file below dir, which no process may use, and
// returns its path.
func ForgetProjections(dir string) (string, error) {
	d, err := openData(dir)
	if err != nil {
		return "", err
	}
	path := filepath.Clean(d.database())
	return path, errors.Join(projections.Rebuild(path), d.close())
}
