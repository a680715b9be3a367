package app

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waybill/waybill/consumers/connectors"
	"github.com/waybill/waybill/internal/seal"
)

func TestKeysAreMadeForTheEmbeddedBrokerAndKept(t *testing.T) {
	d := &data{dir: t.TempDir()}
	first, err := d.sealing("", false, "connector consumer")
	if err != nil {
		t.Fatal(err)
	}
	again, err := d.sealing("", false, "connector consumer")
	if err != nil || first.String() != again.String() {
		t.Errorf("the first start has %v, the second %v, %v", first, again, err)
	}
	given, err := d.sealing("k7"+seal.New()[8:], false, "")
	if err != nil || given.String() != "keys k7" {
		t.Errorf("given ones are passed over: %v, %v", given, err)
	}
}

func TestAConnectorOnASharedLogNeedsKeysThatAllProcessesHave(t *testing.T) {
	d := &data{dir: t.TempDir()}
	_, err := d.sealing("", true, "connector consumer")
	var usage *UsageError
	if !errors.As(err, &usage) || !strings.Contains(err.Error(), "connector consumer") ||
		!strings.Contains(err.Error(), "--seal-keys-file") || strings.Contains(err.Error(), "\n") {
		t.Errorf("the start is refused with %v", err)
	}
	if keys, err := d.sealing("", true, ""); keys != nil || err != nil {
		t.Errorf("where nobody needs keys it is %v, %v", keys, err)
	}
	if _, err := os.Stat(filepath.Join(d.dir, "seal.keys")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("keys were made that no other process has: %v", err)
	}
	if _, err := d.sealing("a word that is none", true, "x"); !errors.As(err, &usage) || strings.Contains(err.Error(), "word") {
		t.Errorf("faulty keys: %v", err)
	}
}

func TestAServerWithoutTheKeysItNeedsEndsBeforeItLooksForKafka(t *testing.T) {
	for keys, says := range map[string]string{"": "connector consumer", "k1:short": `key "k1"`} {
		m := New(Config{
			Data: t.TempDir(), Listen: "127.0.0.1:0", Brokers: []string{"127.0.0.1:1"}, SealKeys: keys,
			Connectors: connectors.Config{Connectors: []connectors.Connector{{
				Name: "consumer", Adapter: connectors.AdapterEDC, Match: []string{"*"}, ManagementURL: "http://127.0.0.1:1/management",
			}}},
		})
		var usage *UsageError
		if err := m.Start(t.Context()); !errors.As(err, &usage) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "short") {
			t.Errorf("with the keys %q: %v", keys, err)
		}
	}
}
