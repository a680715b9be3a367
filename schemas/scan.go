package schemas

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	// maxDepth is how deep objects and arrays may stand within each other. Nobody writes
	// that deep by hand, and every reader behind us may be a recursive one.
	maxDepth = 100
	// maxMachineDepth is how deep it may be in the commands that machines put together of what was
	// taken, and maxLogDepth in what they write for themselves: they must be able to read it again.
	maxMachineDepth = 3 * maxDepth
	maxLogDepth     = 4 * maxDepth
	// maxNumberBytes is the longest number that is taken: the largest float64 written out
	// has 309 digits. Big decimals cost their readers time that grows with the value.
	maxNumberBytes = 400
	// maxProblems is how many mistakes one answer names.
	maxProblems = 20
	// linearNames is up to how many names of an object are compared one by one; beyond
	// that a map finds duplicates.
	linearNames = 24
)

// scanner reads a JSON text once, front to back, without a tree of it in between: what
// the caller wants it takes, the rest it steps over, and all of it is checked against the
// grammar (RFC 8259) and UTF-8.
//
// A strict scanner also takes only what every reader understands alike (RFC 7493,
// I-JSON): no name twice in an object, no half surrogate, no number beyond float64; and
// no U+0000, at which C programs, SQL clients among them, cut a string off.
//
// The first error sticks: from then on everything returns zero values, so that a reader
// looks at it once, at the end. A scanner that lists goes on after what is only not
// I-JSON, and keeps it in problems.
type scanner struct {
	data   []byte
	pos    int
	depth  int
	strict bool
	lists  bool
	most   int // how deep it may be; 0: maxDepth where strict, else maxLogDepth
	err    error
	names  [][]byte // of the objects that are open, where strict
	path   []step   // to where the scanner is
	// shallow is where path stands while it is short, so that most texts need no more memory.
	shallow [6]step
	// problems are what a listing scanner found.
	problems []problemAt
}

// step is one step of the path to where the scanner is: a name, or an index.
type step struct {
	name  []byte
	index int
}

// problemAt is a mistake in a text that can be read.
type problemAt struct {
	path, message string
	limit         bool // a limit, not a mistake of form
}

// Error implements error.
func (p *problemAt) Error() string {
	if p.path == "" {
		return p.message
	}
	return p.path + ": " + p.message
}

// syntaxError is a text that is not JSON, or not UTF-8.
type syntaxError struct {
	pos     int
	message string
}

// Error implements error.
func (e *syntaxError) Error() string { return fmt.Sprintf("byte %d: %s", e.pos, e.message) }

// where is the path to where the scanner is, $.activities[0].id.
func (s *scanner) where() string {
	var b strings.Builder
	b.WriteByte('$')
	for _, p := range s.path {
		if p.name == nil {
			fmt.Fprintf(&b, "[%d]", p.index)
			continue
		}
		writeName(&b, string(p.name))
	}
	return b.String()
}

// writeName adds a name to a JSON path: in brackets where a dot would be misread.
func writeName(b *strings.Builder, name string) {
	plain := name != ""
	for i := range len(name) {
		c := name[i]
		if c != '_' && c != '-' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			plain = false
			break
		}
	}
	if plain {
		b.WriteByte('.')
		b.WriteString(name)
		return
	}
	b.WriteByte('[')
	b.WriteString(strconv.Quote(name))
	b.WriteByte(']')
}

func (s *scanner) syntax(message string) {
	if s.err == nil {
		s.err = &syntaxError{pos: s.pos, message: message}
	}
}

// mismatch says that what stands here is not what it should be.
func (s *scanner) mismatch(message string) {
	if s.err == nil {
		s.err = &problemAt{path: s.where(), message: message}
	}
}

// unfit says that what stands here is JSON, but not I-JSON.
func (s *scanner) unfit(message string) {
	if !s.lists {
		s.mismatch(message)
		return
	}
	if s.err == nil && len(s.problems) < maxProblems {
		s.problems = append(s.problems, problemAt{path: s.where(), message: message})
	}
}

func (s *scanner) deepest() int {
	switch {
	case s.most > 0:
		return s.most
	case s.strict:
		return maxDepth
	}
	return maxLogDepth
}

func (s *scanner) tooDeep() {
	if s.err == nil {
		s.err = &problemAt{path: s.where(), message: fmt.Sprintf("nested deeper than the limit of %d", s.deepest()), limit: true}
	}
}

// space steps over white space and returns the byte that follows, 0 at the end.
func (s *scanner) space() byte {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// end checks that nothing follows.
func (s *scanner) end() {
	if s.err == nil {
		if s.space(); s.pos < len(s.data) {
			s.syntax("something follows the value")
		}
	}
}

// raw steps over a value and returns its text, which is part of data.
func (s *scanner) raw() []byte {
	if s.err != nil {
		return nil
	}
	c := s.space()
	start := s.pos
	switch {
	case c == '{':
		for o := s.object(); o.next(); {
			s.raw()
		}
	case c == '[':
		for a := s.array(); a.next(); {
			s.raw()
		}
	case c == '"':
		s.text()
	case c == '-' || c >= '0' && c <= '9':
		s.number()
	case c == 't':
		s.literal("true")
	case c == 'f':
		s.literal("false")
	case c == 'n':
		s.literal("null")
	case s.pos >= len(s.data):
		s.syntax("the text ends where a value is expected")
	default:
		s.syntax(fmt.Sprintf("%q where a value is expected", rune(c)))
	}
	if s.err != nil {
		return nil
	}
	return s.data[start:s.pos]
}

func (s *scanner) literal(word string) {
	if len(s.data)-s.pos < len(word) || string(s.data[s.pos:s.pos+len(word)]) != word {
		s.syntax("want " + word)
		return
	}
	s.pos += len(word)
}

// null steps over a null if one stands here.
func (s *scanner) null() bool {
	if s.err != nil || s.space() != 'n' {
		return false
	}
	s.literal("null")
	return s.err == nil
}

// object is an object that is being read: for o := s.object(); o.next(); { read o.name's value }.
type object struct {
	s     *scanner
	name  []byte // of the member whose value comes next; part of data, or decoded
	open  bool
	begun bool
	first int // of its names in s.names
	many  map[string]struct{}
}

// object opens an object. Anything else is a mismatch.
func (s *scanner) object() object {
	if s.err != nil {
		return object{}
	}
	if s.space() != '{' {
		s.mismatchOrSyntax("want an object")
		return object{}
	}
	if s.depth++; s.depth > s.deepest() {
		s.tooDeep()
		return object{}
	}
	s.pos++
	s.enter(step{})
	return object{s: s, open: true, first: len(s.names)}
}

func (s *scanner) enter(first step) {
	if s.path == nil {
		s.path = s.shallow[:0]
	}
	s.path = append(s.path, first)
}

// mismatchOrSyntax is a mismatch if what stands here is a value at all.
func (s *scanner) mismatchOrSyntax(message string) {
	if s.raw(); s.err == nil {
		s.mismatch(message)
	}
}

// next goes to the next member. It returns false at the end, and after an error.
func (o *object) next() bool {
	if !o.open || o.s.err != nil {
		return false
	}
	s := o.s
	switch c := s.space(); {
	case c == '}':
		o.close()
		return false
	case o.begun && c != ',':
		s.syntax("want , or } in an object")
		return false
	case o.begun:
		s.pos++
		s.space()
	}
	o.begun = true
	if s.pos >= len(s.data) || s.data[s.pos] != '"' {
		s.syntax("want a name in an object")
		return false
	}
	raw, escaped := s.text()
	if escaped {
		raw = unescape(raw)
	}
	if s.err != nil {
		return false
	}
	o.name = raw
	s.path[len(s.path)-1].name = raw
	if s.strict {
		o.once()
	}
	if s.space() != ':' {
		s.syntax("want : after a name")
		return false
	}
	s.pos++
	return s.err == nil
}

// once notes a name and finds out whether it was there before.
func (o *object) once() {
	s := o.s
	there := false
	switch mine := s.names[o.first:]; {
	case o.many != nil:
		_, there = o.many[string(o.name)]
		o.many[string(o.name)] = struct{}{}
	default:
		for _, n := range mine {
			if string(n) == string(o.name) {
				there = true
				break
			}
		}
		s.names = append(s.names, o.name)
		if len(mine) >= linearNames {
			o.many = make(map[string]struct{}, 4*linearNames)
			for _, n := range s.names[o.first:] {
				o.many[string(n)] = struct{}{}
			}
		}
	}
	if there {
		s.unfit("the name is there twice")
	}
}

func (o *object) close() {
	s := o.s
	s.pos++
	s.depth--
	s.path = s.path[:len(s.path)-1]
	if s.strict {
		s.names = s.names[:o.first]
	}
	o.open = false
}

// array is an array that is being read: for a := s.array(); a.next(); { read a value }.
type array struct {
	s     *scanner
	open  bool
	begun bool
}

// array opens an array. Anything else is a mismatch.
func (s *scanner) array() array {
	if s.err != nil {
		return array{}
	}
	if s.space() != '[' {
		s.mismatchOrSyntax("want an array")
		return array{}
	}
	if s.depth++; s.depth > s.deepest() {
		s.tooDeep()
		return array{}
	}
	s.pos++
	s.enter(step{index: -1})
	return array{s: s, open: true}
}

// next goes to the next element. It returns false at the end, and after an error.
func (a *array) next() bool {
	if !a.open || a.s.err != nil {
		return false
	}
	s := a.s
	c := s.space()
	switch {
	case c == ']' && s.pos < len(s.data):
		s.pos++
		s.depth--
		s.path = s.path[:len(s.path)-1]
		a.open = false
		return false
	case a.begun && c != ',':
		s.syntax("want , or ] in an array")
		return false
	case a.begun:
		s.pos++
	}
	a.begun = true
	s.path[len(s.path)-1].index++
	return true
}

// text steps over a string and returns what stands between its quotes, and whether
// something in it is escaped.
func (s *scanner) text() (raw []byte, escaped bool) {
	start := s.pos + 1
	i := start
	d := s.data
	for i < len(d) {
		switch c := d[i]; {
		case c == '"':
			s.pos = i + 1
			return d[start:i], escaped
		case c == '\\':
			escaped = true
			n := s.escape(i)
			if n == 0 {
				return nil, false
			}
			i += n
		case c < 0x20:
			s.pos = i
			s.syntax("a control character in a string")
			return nil, false
		case c < utf8.RuneSelf:
			i++
		default:
			r, n := utf8.DecodeRune(d[i:])
			if r == utf8.RuneError && n == 1 {
				s.pos = i
				s.syntax("not UTF-8")
				return nil, false
			}
			i += n
		}
	}
	s.pos = len(d)
	s.syntax("the text ends within a string")
	return nil, false
}

// escape checks the escape sequence at i and returns its length, 0 after an error.
func (s *scanner) escape(i int) int {
	d := s.data
	if i+1 < len(d) {
		switch d[i+1] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			return 2
		case 'u':
			return s.escapeRune(i)
		}
	}
	s.pos = i
	s.syntax("an unknown escape sequence in a string")
	return 0
}

func (s *scanner) escapeRune(i int) int {
	r := hex4(s.data, i)
	if r < 0 {
		s.pos = i
		s.syntax("want four hex digits after \\u")
		return 0
	}
	if !s.strict {
		return 6
	}
	switch {
	case r == 0:
		s.unfit("U+0000 in a string")
	case utf16.IsSurrogate(r):
		if low := hex4(s.data, i+6); low >= 0 && utf16.DecodeRune(r, low) != utf8.RuneError {
			return 12
		}
		s.unfit("half a surrogate pair in a string")
	}
	if s.err != nil {
		return 0
	}
	return 6
}

// hex4 reads \uXXXX at i; -1 where there is none.
func hex4(d []byte, i int) rune {
	if len(d)-i < 6 || d[i] != '\\' || d[i+1] != 'u' {
		return -1
	}
	var r rune
	for _, c := range d[i+2 : i+6] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// unescape decodes what stands between the quotes of a string that text has taken. Half a
// surrogate becomes U+FFFD, as in encoding/json.
func unescape(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); {
		c := raw[i]
		if c != '\\' {
			out = append(out, c)
			i++
			continue
		}
		switch c = raw[i+1]; c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r := hex4(raw, i)
			i += 6
			if utf16.IsSurrogate(r) {
				if r = utf16.DecodeRune(r, hex4(raw, i)); r != utf8.RuneError {
					i += 6
				}
			}
			out = utf8.AppendRune(out, r)
			continue
		}
		out = append(out, c)
		i += 2
	}
	return out
}

// number steps over a number.
func (s *scanner) number() {
	d := s.data
	start := s.pos
	i := start
	digits := func() bool {
		from := i
		for i < len(d) && d[i] >= '0' && d[i] <= '9' {
			i++
		}
		return i > from
	}
	if i < len(d) && d[i] == '-' {
		i++
	}
	whole := i
	ok := digits() && (d[whole] != '0' || i == whole+1)
	plain := true
	if ok && i < len(d) && d[i] == '.' {
		i++
		plain = false
		ok = digits()
	}
	if ok && i < len(d) && (d[i] == 'e' || d[i] == 'E') {
		i++
		plain = false
		if i < len(d) && (d[i] == '+' || d[i] == '-') {
			i++
		}
		ok = digits()
	}
	s.pos = i
	if !ok {
		s.syntax("not a number")
		return
	}
	if s.strict && (i-start > 17 || !plain) {
		s.inRange(d[start:i])
	}
}

// inRange checks that a number can be held by a float64, as most readers do, and that
// its exponent is none that a reader of big decimals chokes on.
func (s *scanner) inRange(number []byte) {
	if len(number) > maxNumberBytes {
		s.unfit(fmt.Sprintf("a number of more than %d characters", maxNumberBytes))
		return
	}
	text := string(number)
	if e := strings.IndexAny(text, "eE"); e >= 0 {
		if n, err := strconv.Atoi(text[e+1:]); err != nil || n > maxNumberBytes || n < -maxNumberBytes {
			s.unfit("a number out of range")
			return
		}
	}
	if f, err := strconv.ParseFloat(text, 64); err != nil || math.IsInf(f, 0) {
		s.unfit("a number out of range")
	}
}

// str reads a string; null is the empty one.
func (s *scanner) str() string {
	raw, escaped := s.quoted("want a string")
	if escaped {
		raw = unescape(raw)
	}
	return string(raw)
}

func (s *scanner) quoted(want string) (raw []byte, escaped bool) {
	if s.err != nil || s.null() {
		return nil, false
	}
	if s.space() != '"' {
		s.mismatchOrSyntax(want)
		return nil, false
	}
	return s.text()
}

// integer reads a whole number that fits an int; null is 0.
func (s *scanner) integer() int {
	if s.err != nil || s.null() {
		return 0
	}
	n, err := strconv.Atoi(string(s.raw()))
	if err != nil && s.err == nil {
		s.mismatch("want a whole number")
	}
	return n
}

// boolean reads true or false; null is false.
func (s *scanner) boolean() bool {
	if s.err != nil || s.null() {
		return false
	}
	switch string(s.raw()) {
	case "true":
		return true
	case "false":
	default:
		s.mismatch("want true or false")
	}
	return false
}

// instant reads a time; null is the zero time.
func (s *scanner) instant() time.Time {
	if s.err != nil || s.null() {
		return time.Time{}
	}
	raw, _ := s.quoted("want a time")
	var t time.Time
	if s.err == nil {
		if err := t.UnmarshalText(raw); err != nil {
			s.mismatch("want a time, 2006-01-02T15:04:05Z")
		}
	}
	return t
}

// copied reads any value but null and returns a copy of its text; nil for null.
func (s *scanner) copied() []byte {
	if s.err != nil || s.null() {
		return nil
	}
	return append([]byte(nil), s.raw()...)
}

// strings reads an array of strings; null is nil.
func (s *scanner) strings() []string {
	if s.err != nil || s.null() {
		return nil
	}
	var l []string
	for a := s.array(); a.next(); {
		l = append(l, s.str())
	}
	return l
}

// labels reads an object of strings; null is nil.
func (s *scanner) labels() map[string]string {
	if s.err != nil || s.null() {
		return nil
	}
	var m map[string]string
	for o := s.object(); o.next(); {
		name := string(o.name)
		if m == nil {
			m = make(map[string]string, 4)
		}
		if s.space() != '"' {
			s.mismatchOrSyntax("want a string")
		}
		m[name] = s.str()
	}
	return m
}

// undecodable puts a reason, and the byte where it is known, into an UndecodableError.
func undecodable(wireType string, err error) error {
	var syntax *syntaxError
	if errors.As(err, &syntax) {
		return &UndecodableError{Type: wireType, Offset: syntax.pos, Reason: syntax.message}
	}
	return &UndecodableError{Type: wireType, Reason: err.Error()}
}
