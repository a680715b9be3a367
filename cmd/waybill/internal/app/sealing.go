package app

import (
	"path/filepath"

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
