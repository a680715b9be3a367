package redact_test

import (
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/waybill/waybill/internal/callbacks"
	"github.com/waybill/waybill/internal/redact"
)

func TestASecretThatIsKnownIsFoundHoweverItIsWritten(t *testing.T) {
	const secret = `pa"ss wörd/+`
	hidden := redact.Values{}.Add("short", "[one]").Add(secret, "[two]").Add("abc", "[none]")
	text := strings.Join([]string{secret, base64.StdEncoding.EncodeToString([]byte(secret)), url.QueryEscape(secret), url.PathEscape(secret), `pa\"ss wörd/+`, "short", "abc"}, "|")
	const want = "[two]|[two]|[two]|[two]|[two]|[one]|abc"
	if got := hidden.Text(text); got != want {
		t.Errorf("got %s", got)
	}
	if got := string(hidden.Bytes([]byte(text))); got != want {
		t.Errorf("got %s", got)
	}
}

func TestOnlyWhatIsLongEnoughIsTakenOutOfADocument(t *testing.T) {
	hidden := redact.Sent("[x]", "word", "a-long-token", "")
	if got := string(hidden.Bytes([]byte("a word, and a-long-token"))); got != "a word, and [x]" {
		t.Errorf("got %s", got)
	}
}

func TestMembersThatAreSecretAreTakenOutOfAnError(t *testing.T) {
	hidden := redact.Values{}.AddMembers([]byte(`{"type":"AmazonS3","properties":{"edc:secretAccessKey":"s3cret-key","password":["one-word"],"region":"eu"}}`), "[x]")
	err := errors.New("nothing for AmazonS3 with s3cret-key, one-word in eu")
	if got := hidden.Error(err).Error(); got != "nothing for AmazonS3 with [x], [x] in eu" {
		t.Errorf("got %s", got)
	}
	if got := (redact.Values{}).AddMembers([]byte(`no JSON`), "[x]").Error(err); !errors.Is(got, err) {
		t.Errorf("got %v", got)
	}
}

func TestWhatIsSecretByItsLookIsTakenOutOfATextOfOthers(t *testing.T) {
	at := callbacks.New([]byte("a key of some length")).At("http://127.0.0.1:7470")
	about := callbacks.Subject{Aggregate: "transfer", ID: "t-1", Task: "d1"}
	proof := func(address string) string { return address[strings.LastIndex(address, "/")+1:] }
	const token = "eyJhbGciOiJub25lIn0.eyJleHAiOjF9.c2lnbmF0dXJl"
	for text, secret := range map[string]string{
		"it says Bearer " + token + ", which has run out":                          token,
		"eyJhbGciOiJub25lIn0.eyJleHAiOjF9. is not signed":                          "eyJleHAiOjF9",
		"cannot PUT " + at.Upload(about) + ": refused":                             proof(at.Upload(about)),
		`{"uri":"` + at.Connector(about) + `"}`:                                    proof(at.Connector(about)),
		"at " + at.Provisioner(about) + "/t-1/provision":                           proof(at.Provisioner(about)),
		"at " + at.Of("w/1") + "/complete":                                         proof(at.Of("w/1")),
		"?to=" + url.QueryEscape(at.Upload(about)):                                 proof(at.Upload(about)),
		"GET http://ada:s3cret@host/x: refused":                                    "s3cret",
		"GET https://host/x?sv=1&sig=s3cret&se=2: it answers 403":                  "s3cret",
		`{"baseUrl":"https://host/x?X-Amz-Signature=s3cret"}`:                      "s3cret",
		`you sent {"type":"AmazonS3","secretAccessKey": "s3cret"} to us`:           "s3cret",
		`"you sent {\"https://w3id.org/edc/v0.0.1/ns/authCode\":\"s3cret\"}"`:      "s3cret",
		`{"x":"{\"a\":\"{\\\"password\\\":\\\"s3cret\\\",\\\"b\\\":\\\"c\\\"}\"}"`: "s3cret",
	} {
		if got := redact.Text(text); strings.Contains(got, secret) || !strings.Contains(got, "redacted") {
			t.Errorf("%s: got %s", text, got)
		}
	}
	for _, plain := range []string{
		"", "the asset is not offered", `{"type":"HttpData","accessKeyId":"AKIA"}`, "GET http://127.0.0.1:7470/callbacks/x: it answers 404 Not Found",
		"GET http://host:80/a@b?page=2&sort=x: it answers 403 Forbidden", `asset "urn:uuid:4b1f" of http://provider:8282/protocol`, `"token":""`,
	} {
		if got := redact.Text(plain); got != plain {
			t.Errorf("%s: got %s", plain, got)
		}
	}
}
