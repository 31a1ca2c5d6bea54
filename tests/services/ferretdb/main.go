// ferretdb ADDRESS DIRECTORY: a FerretDB on SQLite, behind a front that lends it what MongoDB has and it has not.
//
// FerretDB 1 looks for the document of an update and writes it in two steps, between which others may write; it gives
// the rest of an update command up at the first statement that fails; and it keeps a connection to SQLite for each
// statement until the command ends, so that long commands hang. The front therefore passes on one command at a time,
// and the statements of an update one by one, and puts their answers together: atomic, unordered, with an error each.
// FerretDB also reads the whole collection for every filter that is more than an _id, and its index of those is not one
// that SQLite uses; so the front looks at the rest of the filter, and makes an index.
package main

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"log"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"

	"github.com/FerretDB/FerretDB/ferretdb"
	"github.com/FerretDB/wire"
	"github.com/FerretDB/wire/wirebson"
)

var turn sync.Mutex // whoever has it speaks to FerretDB

func main() {
	debug.SetGCPercent(800)
	address, directory := os.Args[1], os.Args[2]
	socket := filepath.Join(directory, "ferretdb.sock")
	os.Remove(socket) // of a process that was killed
	slog.SetLogLoggerLevel(slog.LevelError)
	server, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{Unix: socket},
		Handler:   "sqlite",
		SQLiteURL: "file:" + directory + "/?_pragma=synchronous(off)",
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(server.Run(context.Background())) }()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(client, socket, directory)
	}
}

// serve answers one client until either side closes the connection.
func serve(client net.Conn, socket, directory string) {
	defer client.Close()
	behind, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	defer behind.Close()
	near, far := newLine(client), newLine(behind)
	for {
		header, body, err := wire.ReadMessage(near.Reader)
		if err != nil {
			return
		}
		turn.Lock()
		asked := body
		header, body, err = answer(far, header, body)
		index(asked, directory)
		turn.Unlock()
		if err != nil || near.send(header, body) != nil {
			return
		}
	}
}

type line struct{ *bufio.ReadWriter }

func newLine(conn net.Conn) line {
	return line{bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn))}
}

func (l line) send(header *wire.MsgHeader, body wire.MsgBody) error {
	if err := wire.WriteMessage(l.Writer, header, body); err != nil {
		return err
	}
	return l.Flush()
}

func (l line) ask(header *wire.MsgHeader, body wire.MsgBody) (*wire.MsgHeader, wire.MsgBody, error) {
	if err := l.send(header, body); err != nil {
		return nil, nil, err
	}
	return wire.ReadMessage(l.Reader)
}

// index lets SQLite find the documents of a collection that was just made by their _id.
func index(asked wire.MsgBody, directory string) {
	message, ok := asked.(*wire.OpMsg)
	if !ok {
		return
	}
	command, err := message.RawSection0().Decode()
	if err != nil || command.Command() != "create" {
		return
	}
	name := command.Get("$db").(string)
	database, err := sql.Open("sqlite", "file:"+filepath.Join(directory, name+".sqlite")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		log.Fatal(err)
	}
	defer database.Close()
	var table string
	find := "SELECT table_name FROM _ferretdb_collections WHERE name = ?"
	if database.QueryRow(find, command.Get("create")).Scan(&table) != nil {
		return // it was not made
	}
	make := `CREATE INDEX IF NOT EXISTS "%s_front" ON "%s" (_ferretdb_sjson->'$._id')`
	if _, err := database.Exec(fmt.Sprintf(make, table, table)); err != nil {
		log.Fatal(err)
	}
}

// answer is FerretDB's, to each statement on its own where the message is an update.
func answer(far line, header *wire.MsgHeader, body wire.MsgBody) (*wire.MsgHeader, wire.MsgBody, error) {
	message, ok := body.(*wire.OpMsg)
	if !ok {
		return far.ask(header, body)
	}
	var statements []wirebson.RawDocument
	for _, section := range message.Sections() {
		if section.Kind == 1 && section.Identifier == "updates" {
			statements = append(statements, section.Documents()...)
		}
	}
	if statements == nil {
		return far.ask(header, body)
	}
	command, err := message.RawSection0().Decode()
	if err != nil {
		return nil, nil, err
	}
	var last *wire.MsgHeader
	var matched, modified int32
	errors := wirebson.MakeArray(0)
	for index, statement := range statements {
		reply, told, err := one(far, header, command, statement)
		if err != nil {
			return nil, nil, err
		}
		last = reply
		document, err := told.(*wire.OpMsg).RawSection0().DecodeDeep()
		if err != nil {
			return nil, nil, err
		}
		if document.Get("ok") != float64(1) {
			return reply, told, nil
		}
		failed, _ := document.Get("writeErrors").(*wirebson.Array)
		if failed == nil {
			matched += document.Get("n").(int32)
			modified += document.Get("nModified").(int32)
			continue
		}
		failure := failed.Get(0).(*wirebson.Document)
		if err := failure.Replace("index", int32(index)); err != nil {
			return nil, nil, err
		}
		if err := errors.Add(failure); err != nil {
			return nil, nil, err
		}
	}
	whole := wirebson.MustDocument("n", matched, "nModified", modified)
	if errors.Len() > 0 {
		if err := whole.Add("writeErrors", errors); err != nil {
			return nil, nil, err
		}
	}
	if err := whole.Add("ok", float64(1)); err != nil {
		return nil, nil, err
	}
	merged, err := wire.NewOpMsg(whole)
	if err != nil {
		return nil, nil, err
	}
	return sized(last, merged), merged, nil
}

// one asks FerretDB for a single statement of an update.
func one(far line, header *wire.MsgHeader, command *wirebson.Document, statement wirebson.RawDocument) (
	*wire.MsgHeader, wire.MsgBody, error,
) {
	statement, err := narrowed(far, header, command, statement)
	if err != nil {
		return nil, nil, err
	}
	single := wirebson.MakeDocument(command.Len() + 1)
	for name, value := range command.All() {
		if err := single.Add(name, value); err != nil {
			return nil, nil, err
		}
	}
	if err := single.Add("updates", wirebson.MustArray(statement)); err != nil {
		return nil, nil, err
	}
	body, err := wire.NewOpMsg(single)
	if err != nil {
		return nil, nil, err
	}
	return far.ask(sized(header, body), body)
}

// narrowed is the same statement; where the document that it names has the other values of its filter, by _id alone.
func narrowed(far line, header *wire.MsgHeader, command *wirebson.Document, statement wirebson.RawDocument) (
	wirebson.RawDocument, error,
) {
	parts, err := statement.Decode()
	if err != nil {
		return nil, err
	}
	filter, err := parts.Get("q").(wirebson.AnyDocument).Decode()
	if err != nil {
		return nil, err
	}
	id, ok := filter.Get("_id").(string)
	if !ok || filter.Len() == 1 {
		return statement, nil
	}
	byId := wirebson.MustDocument("_id", id)
	query, err := wire.NewOpMsg(wirebson.MustDocument(
		"find", command.Get("update"), "filter", byId, "limit", int64(1), "singleBatch", true, "$db", command.Get("$db"),
	))
	if err != nil {
		return nil, err
	}
	_, told, err := far.ask(sized(header, query), query)
	if err != nil {
		return nil, err
	}
	reply, err := told.(*wire.OpMsg).RawSection0().DecodeDeep()
	if err != nil {
		return nil, err
	}
	cursor, ok := reply.Get("cursor").(*wirebson.Document)
	if !ok {
		return statement, nil
	}
	found := cursor.Get("firstBatch").(*wirebson.Array)
	if found.Len() == 0 {
		return statement, nil
	}
	document := found.Get(0).(*wirebson.Document)
	for name, value := range filter.All() {
		if number, ok := value.(int32); name != "_id" && (!ok || document.Get(name) != number) {
			return statement, nil
		}
	}
	if err := parts.Replace("q", byId); err != nil {
		return nil, err
	}
	return parts.Encode()
}

// sized is a header like the given one, for that body.
func sized(like *wire.MsgHeader, body *wire.OpMsg) *wire.MsgHeader {
	bytes, err := body.MarshalBinary()
	if err != nil {
		log.Fatal(err)
	}
	header := *like
	header.MessageLength = int32(wire.MsgHeaderLen + len(bytes))
	return &header
}
