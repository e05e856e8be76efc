/*
 * The resume protocol, for the model checker Spin: `nox -s model` checks it.
 *
 * A client (`_protocol/recovery.py`) has requests on the shell of one kernel. Its connection is cut at any moment. The gateway keeps what
 * the kernel says while nobody is connected, and replays it to the same session. It may notice a cut late: what it writes until then is
 * lost, and the sockets that it keeps for the session may lead nowhere afterwards. A second replica of the gateway has kept nothing. The
 * kernel works on its shell in order; in the variant BESIDE it answers questions beside running code. Its process may be replaced
 * at any moment, and nobody tells the client.
 *
 * What is checked in every state that REQUESTS requests, CUTS cuts and RESTARTS restarts can lead to:
 *
 *   once   No request runs twice (an assertion where the kernel begins).
 *   true   A reply is of a request that ran, and none comes for a request that was reported as lost (assertions where it comes).
 *   ends   The client comes to its end: each request is answered or reported as lost. (A state in which it waits and nothing can
 *          happen is an invalid end state; `-l` finds a cycle that could go on for ever.)
 *
 * Wrong on purpose, and found by the checker, which shows that it would find a fault:
 *
 *   RESEND           what was sent over a connection that broke is sent again          breaks once
 *   NO_BARRIER       nothing is sent behind what waits                                  breaks ends
 *   TRUST_ANSWER     with BESIDE: the answer to a question proves what was before it     breaks true
 *   NO_REPLACEMENT   a session whose sockets lead nowhere is kept                       breaks ends
 *   NEW_SESSION      each connection is another session's, so nothing is replayed       breaks nothing: requests are reported as lost
 *
 * Time: Spin's `timeout` holds when nothing else can happen, so a limit passes only where nothing comes any more. A limit that passes
 * too early costs a question more and no verdict. Left out: single outputs (`_protocol/loss.py` counts those), interrupts, subshells.
 */

#ifndef REQUESTS
#define REQUESTS 2
#endif
#ifndef CUTS
#define CUTS 2
#endif
#ifndef RESTARTS
#define RESTARTS 1
#endif
#define POLLS (CUTS + RESTARTS + 1) /* how often the poller has a cause to look */
#define ROOM 12
#define NOTHING 255

mtype:kind = { code, question, barrier, empty_code, busy, reply, answer, barrier_answer, code_answer };
mtype:ending = { unsent, owed, answered, lost };

/* --- the connection, and what the gateway knows of it */
bool linked = true;
byte connection = 1;
chan up = [ROOM] of { mtype:kind, byte };         /* what, and its number */
chan down = [ROOM] of { mtype:kind, byte, byte }; /* also the kernel's process that says it */
bool gateway_sees_it = true;
bool leads_nowhere = false; /* its sockets towards the kernel */
chan kept = [ROOM] of { mtype:kind, byte, byte };
byte cuts = 0;

/* --- the kernel */
chan shell = [ROOM] of { mtype:kind, byte };
chan control = [ROOM] of { mtype:kind, byte };
chan said = [ROOM] of { mtype:kind, byte, byte };
byte process = 0;
byte running = NOTHING;
byte restarts = 0;
byte runs[REQUESTS];

/* --- the client */
mtype:ending state[REQUESTS] = unsent;
byte order_of[REQUESTS];
byte carried_by[REQUESTS];
byte begun_in[REQUESTS] = NOTHING;
byte order = 0;
bool holding = false; /* nothing that could be lost is sent */
bool asked = false;
byte questions = 0;
bool looking = false; /* there is a barrier */
mtype:kind barrier_kind;
bool barrier_sent = false;
byte barriers = 0;
byte barrier_mark = 0;
byte polls = 0;

#define OWED(i) (state[i] == owed)
#define ENDED(i) (state[i] == answered || state[i] == lost)
#if REQUESTS == 2
#define ANY_OWED (OWED(0) || OWED(1))
#define ALL_ENDED (ENDED(0) && ENDED(1))
#define NEXT (state[0] == unsent -> 0 : (state[1] == unsent -> 1 : NOTHING))
#else
#define ANY_OWED (OWED(0) || OWED(1) || OWED(2))
#define ALL_ENDED (ENDED(0) && ENDED(1) && ENDED(2))
#define NEXT (state[0] == unsent -> 0 : (state[1] == unsent -> 1 : (state[2] == unsent -> 2 : NOTHING)))
#endif
#define OVERTAKEN(i) (OWED(i) && order_of[i] < barrier_mark)
#define RUNS_IN(i, p) (carried_by[i] == connection && begun_in[i] == p)

inline empty_out(channel2) { do :: channel2?_, _ :: empty(channel2) -> break od }
inline empty_out3(channel3) { do :: channel3?_, _, _ :: empty(channel3) -> break od }

inline send(kind, number) {
    order++;
    if
    :: linked -> up!kind, number
    :: else -> skip /* into a dead socket, which the client has not noticed */
    fi
}

inline look() { /* find_lost */
#ifdef NO_BARRIER
    skip
#else
    if
    :: !looking && ANY_OWED -> looking = true; barrier_kind = barrier; barrier_sent = false; barriers++
    :: else -> skip
    fi
#endif
}

inline connect(same_session) {
    connection++;
    empty_out(up);
    empty_out3(down);
    if
    :: same_session && gateway_sees_it -> /* it has kept nothing */
        if
        :: leads_nowhere = true
        :: skip
        fi
    :: same_session && !gateway_sees_it ->
        leads_nowhere = false;
        if
        :: do
           :: kept?what, number, from -> down!what, number, from
           :: empty(kept) -> break
           od
        :: empty_out3(kept) /* another replica */
        fi
    :: !same_session -> leads_nowhere = false; empty_out3(kept)
    fi;
    gateway_sees_it = true;
    linked = true;
    holding = true;
    asked = false;
    if
    :: looking && barrier_sent -> looking = false /* replaced; one that was not sent yet is not */
    :: else -> skip
    fi;
#ifdef RESEND
    for (i : 0 .. REQUESTS - 1) {
        if
        :: OWED(i) -> state[i] = unsent
        :: else -> skip
        fi
    }
#endif
    look()
}

inline judge(beside, by) {
    for (i : 0 .. REQUESTS - 1) {
        if
        :: OVERTAKEN(i) && !(beside && RUNS_IN(i, by)) -> state[i] = lost
        :: else -> skip
        fi
    }
    looking = false;
    for (i : 0 .. REQUESTS - 1) {
        if
        :: OWED(i) && carried_by[i] < connection -> look() /* what an earlier connection carried is looked for again */
        :: else -> skip
        fi
    }
}

active proctype client() {
    mtype:kind what;
    byte number, from, i;
    bool proved;
    do
    :: atomic { !holding && NEXT != NOTHING -> /* a caller's request */
        number = NEXT;
        send(code, number);
        order_of[number] = order; carried_by[number] = connection; state[number] = owed }
    :: atomic { holding && !asked && NEXT != NOTHING -> /* something waits to be sent */
        asked = true; questions++; send(question, questions) }
    :: atomic { looking && !barrier_sent ->
        barrier_sent = true;
        send(barrier_kind, barriers);
        if
        :: barrier_kind == barrier -> barrier_mark = order
        :: else -> skip /* it judges what the first one overtook */
        fi }
    :: atomic { down?busy, number, from -> begun_in[number] = from }
    :: atomic { down?reply, number, from ->
        assert(runs[number] == 1);
        assert(state[number] != lost);
        if
        :: OWED(number) -> state[number] = answered; begun_in[number] = NOTHING
        :: else -> skip
        fi }
    :: atomic { down?answer, number, from ->
        if
        :: asked && number == questions -> holding = false
        :: else -> skip
        fi }
    :: atomic { down?barrier_answer, number, from ->
        if
        :: looking && barrier_sent && barrier_kind == barrier && number == barriers ->
            proved = true;
#ifndef TRUST_ANSWER
            for (i : 0 .. REQUESTS - 1) {
                if
#ifdef BESIDE
                :: OVERTAKEN(i) -> proved = false
#else
                :: OVERTAKEN(i) && RUNS_IN(i, from) -> proved = false
#endif
                :: else -> skip
                fi
            }
#endif
            if
            :: proved -> judge(false, from)
            :: else -> barrier_kind = empty_code; barrier_sent = false; barriers++
            fi
        :: else -> skip
        fi }
    :: atomic { down?code_answer, number, from ->
        if
        :: looking && barrier_sent && barrier_kind == empty_code && number == barriers ->
#ifdef BESIDE
            judge(true, from)
#else
            judge(false, from)
#endif
        :: else -> skip
        fi }
    :: atomic { !linked -> /* noticed */
#ifdef NEW_SESSION
        connect(false)
#else
        connect(true)
#endif
        }
    :: atomic { timeout && linked && !ALL_ENDED && polls < POLLS -> /* a limit has passed */
        polls++;
        if
#ifndef NO_REPLACEMENT
        :: leads_nowhere -> connect(false) /* the kernel answers over another connection */
#endif
        :: else ->
            holding = false; /* nothing is proved: what waits is released */
            if
            :: looking && barrier_sent -> looking = false /* a process took it with it */
            :: else -> skip
            fi;
            look()
        fi }
    :: atomic { ALL_ENDED -> break }
    od
}

active proctype gateway() {
    mtype:kind what;
    byte number, from;
end:
    do
    :: atomic { up?what, number ->
        if
        :: leads_nowhere -> skip
        :: !leads_nowhere && what == question -> control!what, number
        :: else -> shell!what, number
        fi }
    :: atomic { said?what, number, from ->
        if
        :: !gateway_sees_it -> kept!what, number, from
        :: gateway_sees_it && linked && !leads_nowhere -> down!what, number, from
        :: else -> skip /* written into a dead socket, or to nobody */
        fi }
    :: atomic { !linked && gateway_sees_it -> gateway_sees_it = false }
    od
}

active proctype kernel() {
    byte number;
end:
    do
    :: atomic { control?question, number -> said!answer, number, process }
    :: atomic { running == NOTHING && shell?[code, number] -> shell?code, number;
        running = number; runs[number]++;
        assert(runs[number] == 1);
        said!busy, number, process }
    :: atomic { running != NOTHING -> said!reply, running, process; running = NOTHING }
#ifdef BESIDE
    :: atomic { shell?barrier, number -> said!barrier_answer, number, process }
#else
    :: atomic { running == NOTHING && shell?[barrier, number] -> shell?barrier, number; said!barrier_answer, number, process }
#endif
    :: atomic { running == NOTHING && shell?[empty_code, number] -> shell?empty_code, number; said!code_answer, number, process }
    od
}

active proctype faults() {
end:
    do
    :: atomic { linked && cuts < CUTS -> linked = false; cuts++; empty_out(up); empty_out3(down) }
    :: atomic { restarts < RESTARTS ->
        restarts++; process++; running = NOTHING; empty_out(shell); empty_out(control) }
    od
}
