package app

import (
	"bytes"
	"context"
	"os"
	"path/filepath"

	"github.com/waybill/waybill/consumers/connectors"
	"github.com/waybill/waybill/internal/seal"
)

// sealing gives the keys that secrets are sealed with before they cross the log: those that
// were given, else those of the data directory. Those are no good on a log that processes
// with other directories read too: there, none are given where nobody needs them, which is
// who speaks with connectors or provisioners that hand out secrets.
func (d *data) sealing(given string, shared bool, who string) (*seal.Keyring, error) {
	if given != "" {
		r, err := seal.Parse(given)
		if err != nil {
			return nil, usage("--seal-keys-file: %w", err)
		}
		return r, nil
	}
	if !shared {
		return seal.Keep(filepath.Join(d.dir, "seal.keys"))
	}
	if who == "" {
		return nil, nil
	}
	return nil, usage("%s hands out secrets, and with --brokers other processes must be able to open them: "+
		`give all of them the same --seal-keys-file, made by echo "k1:$(openssl rand -base64 32)"`, who)
}

// ReadSealKeys reads the file of --seal-keys-file.
func ReadSealKeys(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", usage("--seal-keys-file: %w", err)
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return "", usage("--seal-keys-file: %s is empty", path)
	}
	return string(b), nil
}

// openKeys gets the keys that secrets are sealed with.
func (m *Main) openKeys(context.Context) (err error) {
	m.keys, err = m.data.sealing(m.cfg.SealKeys, len(m.cfg.Brokers) > 0, m.cfg.handsOut())
	return err
}

// handsOut names who of those configured hands out secrets; "" where nobody does.
func (c *Config) handsOut() string {
	for _, k := range c.Connectors.Connectors {
		if k.Adapter == connectors.AdapterEDC {
			return "connector " + k.Name
		}
	}
	for _, p := range c.Provisioners {
		return "provisioner " + p.Type
	}
	return ""
}
