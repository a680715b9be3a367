// Package jwt reads when a token of others ends. It checks nothing: whom a token is for and who has
// signed it is the business of who takes it.
//
//	if at, ok := jwt.Expiry(token); ok && time.Now().After(at) {
//		// another one is needed
//	}
package jwt

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// maxTime is in the year 2242, within what others that keep a time can write: a token that is good for
// longer has no end.
const maxTime = 1 << 33

// Expiry is what a token says of its end; false where it says none, or is no JWT. A scheme may stand
// before it.
func Expiry(token string) (time.Time, bool) {
	parts := strings.Split(token[strings.LastIndexByte(token, ' ')+1:], ".")
	if len(parts) != 3 {
		return time.Time{}, false
	}
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return time.Time{}, false
	}
	var claims struct {
		End json.RawMessage `json:"exp"`
	}
	if json.Unmarshal(text, &claims) != nil {
		return time.Time{}, false
	}
	seconds, err := strconv.ParseFloat(strings.Trim(string(claims.End), `"`), 64)
	if err != nil || !(seconds > 0 && seconds < maxTime) { // what is not a number is not in between
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0).UTC(), true
}
