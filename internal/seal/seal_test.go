package seal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waybill/waybill/internal/seal"
)

const (
	token  = "eyJhbGciOi-the-token"
	edr    = `{"endpoint":"http://provider/public","authorization":"` + token + `"}`
	theEDR = "edr consumer 4711"
)

func ring(t *testing.T, lines ...string) *seal.Keyring {
	t.Helper()
	r, err := seal.Parse(strings.Join(lines, ""))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func named(t *testing.T, id string) string {
	t.Helper()
	_, key, _ := strings.Cut(seal.New(), ":")
	return id + ":" + key
}

func sealed(t *testing.T, r *seal.Keyring, purpose, value string) seal.Sealed {
	t.Helper()
	s, err := r.Seal(purpose, []byte(value))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWhatIsSealedCrossesAsJSONAndOpensAgain(t *testing.T) {
	r := ring(t, named(t, "k1"))
	wire, err := json.Marshal(map[string]any{"edr": sealed(t, r, theEDR, edr)})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(wire), `{"edr":{"$sealed":"k1.`) || bytes.Contains(wire, []byte("token")) {
		t.Fatalf("on the wire it is %s", wire)
	}
	var read struct{ EDR seal.Sealed }
	if err := json.Unmarshal(wire, &read); err != nil {
		t.Fatal(err)
	}
	secret, err := r.Open(theEDR, read.EDR)
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Authorization string }
	if err := secret.Decode(&got); err != nil || got.Authorization != token || string(secret.Reveal()) != edr {
		t.Fatalf("got %s, %v", secret.Reveal(), err)
	}
}

func TestTheSameSecretIsSealedToAnotherTextEachTime(t *testing.T) {
	r := ring(t, named(t, "k1"))
	a, _ := json.Marshal(sealed(t, r, theEDR, edr))
	b, _ := json.Marshal(sealed(t, r, theEDR, edr))
	if bytes.Equal(a, b) {
		t.Errorf("twice %s", a)
	}
}

func TestAnOlderKeyOfTheRingOpensWhatItSealed(t *testing.T) {
	first, second := named(t, "k1"), named(t, "k2")
	old := sealed(t, ring(t, first), theEDR, edr)
	r := ring(t, second, first)
	if s := sealed(t, r, theEDR, edr); s.KeyID() != "k2" {
		t.Errorf("sealed with %s, not with the current key", s.KeyID())
	}
	if secret, err := r.Open(theEDR, old); err != nil || string(secret.Reveal()) != edr {
		t.Errorf("after a rotation it is %s, %v", secret.Reveal(), err)
	}
	_, err := ring(t, second).Open(theEDR, old)
	var open *seal.OpenError
	if !errors.As(err, &open) || !open.Unknown || open.KeyID != "k1" || !strings.Contains(err.Error(), `"k1"`) {
		t.Errorf("once the old key is gone: %v", err)
	}
}

func TestASecretOpensOnlyForWhatItWasSealedFor(t *testing.T) {
	line := named(t, "k1")
	r := ring(t, line)
	s := sealed(t, r, theEDR, edr)
	for name, try := range map[string]func() (seal.Secret, error){
		"another purpose": func() (seal.Secret, error) { return r.Open("edr consumer 4712", s) },
		"another key":     func() (seal.Secret, error) { return ring(t, named(t, "k1")).Open(theEDR, s) },
		"another id for the key": func() (seal.Secret, error) {
			b, _ := json.Marshal(s)
			var moved seal.Sealed
			if err := json.Unmarshal(bytes.Replace(b, []byte("k1."), []byte("k2."), 1), &moved); err != nil {
				t.Fatal(err)
			}
			return ring(t, strings.Replace(line, "k1:", "k2:", 1)).Open(theEDR, moved)
		},
		"a text that was changed": func() (seal.Secret, error) {
			b, _ := json.Marshal(s)
			i := len(b) - 10
			b[i] = map[bool]byte{true: 'B', false: 'A'}[b[i] == 'A']
			var changed seal.Sealed
			if err := json.Unmarshal(b, &changed); err != nil {
				t.Fatal(err)
			}
			return r.Open(theEDR, changed)
		},
		"nothing":           func() (seal.Secret, error) { return r.Open(theEDR, seal.Sealed{}) },
		"a process without": func() (seal.Secret, error) { return (*seal.Keyring)(nil).Open(theEDR, s) },
	} {
		secret, err := try()
		if err == nil || secret.Reveal() != nil {
			t.Errorf("%s: opened", name)
		}
		if err != nil && (strings.Contains(err.Error(), token) || !strings.Contains(err.Error(), "edr consumer 471")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNothingPrintsASecretOrAKey(t *testing.T) {
	line := named(t, "k1")
	r := ring(t, line)
	secret, err := r.Open(theEDR, sealed(t, r, theEDR, edr))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	holder := struct {
		S seal.Secret
		P *seal.Secret
		R *seal.Keyring
	}{secret, &secret, r}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+" "+verb+" "+verb+"\n", secret, holder, r)
	}
	if err := json.NewEncoder(&out).Encode(holder); err != nil {
		t.Fatal(err)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "secret", secret, "holder", holder, "keys", r)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "secret", secret, "holder", holder, "keys", r)
	var number int
	fmt.Fprintln(&out, secret.Decode(&number))
	_, key, _ := strings.Cut(strings.TrimSpace(line), ":")
	for _, clear := range []string{token, fmt.Sprintf("%x", token), key} {
		if strings.Contains(out.String(), clear) {
			t.Errorf("%q is in\n%s", clear, out.String())
		}
	}
}

func TestWhatCannotBeSealedIsRefusedWithoutShowingIt(t *testing.T) {
	r := ring(t, named(t, "k1"))
	for name, try := range map[string]func() error{
		"no JSON": func() error { _, err := r.Seal(theEDR, []byte(token)); return err },
		"too large": func() error {
			_, err := r.Seal(theEDR, []byte(`"`+token+strings.Repeat("a", seal.MaxBytes)+`"`))
			return err
		},
		"no keys": func() error { _, err := (*seal.Keyring)(nil).Seal(theEDR, []byte(edr)); return err },
		"no JSON to walk": func() error {
			_, err := r.SealMembers(theEDR, []byte(`{"token":"`+token+`"`), seal.SecretName)
			return err
		},
		"too deep": func() error {
			_, err := r.SealMembers(theEDR, []byte(strings.Repeat("[", 100_000)), seal.SecretName)
			return err
		},
	} {
		if err := try(); err == nil || strings.Contains(err.Error(), token) || !strings.Contains(err.Error(), theEDR) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnEnvelopeOfAnotherFormIsRefusedWithoutShowingIt(t *testing.T) {
	for _, bad := range []string{
		`"` + token + `"`, `{}`, `[]`, `7`, `{"$sealed":7}`, `{"$sealed":"` + token + `"}`, `{"$sealed":".AAAA"}`,
		`{"$sealed":"k 1.AAAA"}`, `{"$sealed":"k1.` + token + `!"}`, `{"$sealed":"k1.AAAA","b":"c"}`, `{"sealed":"k1.AAAA"}`,
	} {
		var s seal.Sealed
		err := json.Unmarshal([]byte(bad), &s)
		if err == nil || strings.Contains(err.Error(), token) {
			t.Errorf("%s: %v", bad, err)
		}
		if seal.IsSealed([]byte(bad)) {
			t.Errorf("%s is taken for something sealed", bad)
		}
	}
}

func TestTheSecretMembersOfAValueAreSealedAndTheRestStaysWordForWord(t *testing.T) {
	const destination = `{"type":"AmazonS3","z":1.50,"secretAccessKey":"clear-1","a":[{"header:Authorization":"clear-2","n":12345678901234567890}],` +
		`"credentials":{"token":"clear-3"},"empty":{"password":""},"keyName":"public","tokenType":"bearer","html":"<&>"}`
	r := ring(t, named(t, "k1"))
	hidden, err := r.SealMembers("destination t1", []byte(destination), seal.SecretName)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(hidden, []byte("clear")) || bytes.Count(hidden, []byte("$sealed")) != 3 {
		t.Fatalf("sealed it is %s", hidden)
	}
	again, err := r.SealMembers("destination t1", hidden, seal.SecretName)
	if err != nil || !bytes.Equal(again, hidden) {
		t.Errorf("what is sealed is sealed once more: %s, %v", again, err)
	}
	if in, out := seal.InTheClear([]byte(destination), seal.SecretName), seal.InTheClear(hidden, seal.SecretName); in != "secretAccessKey" || out != "" {
		t.Errorf("in the clear is %q before, %q after", in, out)
	}
	open, err := r.OpenAll("destination t1", hidden)
	if err != nil || string(open.Reveal()) != destination {
		t.Errorf("opened it is\n%s, not\n%s; %v", open.Reveal(), destination, err)
	}
	if _, err := r.OpenAll("destination t2", hidden); err == nil {
		t.Error("another transfer opens it")
	}
	shown := seal.Redact(hidden)
	if bytes.Contains(shown, []byte("$sealed")) || bytes.Count(shown, []byte(seal.Redacted)) != 3 || !bytes.HasPrefix(shown, []byte(`{"type":"AmazonS3","z":1.50,"secretAccessKey":"«`)) {
		t.Errorf("shown it is %s", shown)
	}
}

func TestAnAddressThatOpensByItselfIsSealedWhateverItIsCalled(t *testing.T) {
	r := ring(t, named(t, "k1"))
	for _, address := range []string{
		"https://ada:s3cret@host/x", "https://store/c?sv=2024&sig=s3cret%2B", "https://b.s3.amazonaws.com/o?X-Amz-Credential=a&X-Amz-Signature=s3cret", "s3://k:s3cret@bucket",
		"https://host/x?token=s3cret",
	} {
		value := []byte(`{"type":"HttpData","properties":{"baseUrl":"` + address + `","others":["` + address + `"]}}`)
		hidden, err := r.SealMembers("transfer t1", value, seal.SecretName)
		if err != nil || bytes.Contains(hidden, []byte("s3cret")) || bytes.Count(hidden, []byte("$sealed")) != 2 {
			t.Errorf("sealed it is %s, %v", hidden, err)
		}
		if in, out := seal.InTheClear(value, seal.SecretName), seal.InTheClear(hidden, seal.SecretName); in != "baseUrl" || out != "" {
			t.Errorf("in the clear is %q before, %q after", in, out)
		}
		if open, err := r.OpenAll("transfer t1", hidden); err != nil || !bytes.Equal(open.Reveal(), value) {
			t.Errorf("opened it is %s, %v", open.Reveal(), err)
		}
	}
	for _, plain := range []string{"https://host:8080/x?page=1#a", "https://ada@host/", "no address with sig=1", "http://[::1", ""} {
		if seal.SecretURL(plain) {
			t.Errorf("%s is taken for a secret", plain)
		}
	}
}

func TestAnEnvelopeAmongOtherMembersOpensNothing(t *testing.T) {
	r := ring(t, named(t, "k1"))
	envelope, _ := json.Marshal(sealed(t, r, "x", `"clear"`))
	for _, value := range []string{
		strings.Replace(string(envelope), "}", `,"b":1}`, 1),
		strings.Replace(string(envelope), "{", `{"b":1,`, 1),
	} {
		if open, err := r.OpenAll("x", []byte(value)); err == nil {
			t.Errorf("%s opens to %s", value, open.Reveal())
		}
		if shown := seal.Redact([]byte(value)); string(shown) != `"`+seal.Redacted+`"` {
			t.Errorf("%s is shown as %s", value, shown)
		}
	}
}

func TestNamesTellSecretsFromWhatIsSaidAboutThem(t *testing.T) {
	for _, name := range []string{
		"secretAccessKey", "https://w3id.org/edc/v0.0.1/ns/authCode", "edc:secretKey", "sessionToken", "SAS_URL", "apiKeyJwt",
		"header:x-api-key", "password", "authorization", "refreshToken", "account-key",
	} {
		if !seal.SecretName(name) {
			t.Errorf("%s is not taken for a secret", name)
		}
	}
	for _, name := range []string{
		"type", "bucketName", "keyName", "secretName", "authKey", "accessKeyId", "tokenType", "tokenEndpoint", "baseUrl", "", "edc:type", "objectName", "region",
	} {
		if seal.SecretName(name) {
			t.Errorf("%s is taken for a secret", name)
		}
	}
}

func TestKeysAreReadFromLinesAndFromTheWordsOfAVariable(t *testing.T) {
	k1, k2 := strings.TrimSpace(named(t, "k1")), strings.TrimSpace(named(t, "2026-07"))
	for _, text := range []string{
		"# keys\n\n" + k2 + "  # current\r\n" + k1,
		k2 + " " + k1,
	} {
		r, err := seal.Parse(text)
		if err != nil || strings.Join(r.IDs(), " ") != "2026-07 k1" {
			t.Errorf("%q: %v, %v", text, r, err)
		}
	}
}

func TestAFaultyKeyIsRefusedByItsLineAndNotShown(t *testing.T) {
	good := strings.TrimSpace(named(t, "k1"))
	_, key, _ := strings.Cut(good, ":")
	for text, says := range map[string]string{
		"":                              "no key",
		"# nothing\n":                   "no key",
		key:                             "line 1",
		"\n" + "k 1:" + key:             "line 2",
		"k1:" + key[:40]:                `"k1"`,
		"k1:" + strings.Repeat("!", 44): `"k1"`,
		"k.1:" + key:                    "id:base64",
		good + "\n" + good:              "twice",
		":" + key:                       "id:base64",
	} {
		_, err := seal.Parse(text)
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), key[:40]) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAKeyIsMadeOnceAndKeptForItsOwnerOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seal.keys")
	first, err := seal.Keep(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info.Mode(), err)
	}
	second, err := seal.Keep(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Open(theEDR, sealed(t, first, theEDR, edr)); err != nil {
		t.Errorf("after another start: %v", err)
	}
	if err := os.WriteFile(path, []byte("half a k"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := seal.Keep(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a file that was damaged is taken or replaced: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".new-*")); err != nil || left != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func FuzzWalking(f *testing.F) {
	f.Add([]byte(`{"a":[{"token":"x"},{"$sealed":"k1.AAAA"}],"b":1e5}`))
	r, err := seal.Parse(seal.New())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		seal.Redact(b)
		hidden, err := r.SealMembers("p", b, seal.SecretName)
		if err != nil {
			return
		}
		if !json.Valid(hidden) {
			t.Fatalf("%s became %s", b, hidden)
		}
		if bytes.Contains(b, []byte("sealed")) {
			return
		}
		open, err := r.OpenAll("p", hidden)
		var was, is any
		if err != nil || json.Unmarshal(b, &was) != nil || json.Unmarshal(open.Reveal(), &is) != nil || fmt.Sprint(was) != fmt.Sprint(is) {
			t.Fatalf("%s became %s, %v", b, open.Reveal(), err)
		}
	})
}
