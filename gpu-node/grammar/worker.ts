import { parentPort, workerData } from 'node:worker_threads'
import type { CompiledGrammar, GrammarCompiler, Grammar as ParsedGrammar } from '@mlc-ai/web-xgrammar'
import type { Grammar, SimpleGrammar } from '../../shared/wire.ts'
import { withDistinctAlternatives } from './distinct-alternatives.ts'
import { type Continuation, FollowedText, slowToFollow } from './followed-text.ts'
import { ForcedText } from './forced-text.ts'
import { type FromWorker, stateLayout, statuses, type ToWorker, type WorkerSetup } from './messages.ts'
import { withRulesUnder } from './rule-names.ts'
import { Utf8Masks } from './utf8-masks.ts'
import { loadXgrammar } from './xgrammar.ts'

/** Runs in a thread of its own: compiling takes seconds, and a grammar that xgrammar cannot take ends its copy. */

const setup: WorkerSetup = workerData
const complaints: string[] = []
console.error = (...parts: unknown[]) => complaints.push(parts.join(' '))
console.log = () => undefined

const library = loadXgrammar()
/** Tokens of a text that a new grammar is tried out with. */
const triedTokens = 4
const compact = { anyWhitespace: false, indent: -1, strict: true } as const

interface Session {
  readonly text: FollowedText
  readonly state: Int32Array
}

const reading =
  setup.task === 'match'
    ? {
        utf8: new Utf8Masks(setup.vocabulary),
        forcedText: new ForcedText(setup.vocabulary.tokenizer),
      }
    : undefined
const sessions = new Map<number, Session>()
const grammars = new Map<string, CompiledGrammar>()
let compiler: GrammarCompiler | undefined

/** xgrammar prints `[\^a]` as `[^a]`, which is another class. */
const leadingCaret = /(?<!\\)(?:\\\\)*\[\\(?:\^|x5e|u005e|U0000005e)/i

async function parse(grammar: Grammar): Promise<ParsedGrammar> {
  const given =
    grammar.kind === 'regex' ? grammar.pattern : grammar.kind === 'ebnf' ? grammar.grammar : undefined
  if (given !== undefined && leadingCaret.test(given))
    throw new Error(
      'a class may not begin with an escaped ^; put the ^ behind another character of the class',
    )
  const parsed = await parseAsWritten(grammar)
  const distinct = withDistinctAlternatives(parsed.toString())
  parsed.dispose()
  return library.Grammar.fromEBNF(distinct)
}

async function parseAsWritten(grammar: Grammar): Promise<ParsedGrammar> {
  switch (grammar.kind) {
    case 'json_schema':
      return library.Grammar.fromJSONSchema(
        grammar.schema,
        compact.anyWhitespace,
        compact.indent,
        undefined,
        compact.strict,
      )
    case 'ebnf':
      return library.Grammar.fromEBNF(grammar.grammar)
    case 'regex':
      return library.Grammar.fromStructuralTag({
        type: 'structural_tag',
        format: { type: 'regex', pattern: grammar.pattern },
      })
    case 'composed': {
      const printed = await Promise.all(grammar.parts.map(printedPart))
      return library.Grammar.fromEBNF([grammar.grammar, ...printed].join('\n'))
    }
  }
}

async function printedPart(part: SimpleGrammar, at: number): Promise<string> {
  const parsed = await parse(part)
  const printed = parsed.toString()
  parsed.dispose()
  return withRulesUnder(printed, `part_${at}`)
}

async function compilerOf(): Promise<GrammarCompiler> {
  if (compiler !== undefined) return compiler
  if (setup.task !== 'match') throw new Error('this worker only checks')
  const { eos, spelling, tokens } = setup.vocabulary
  const info = await library.TokenizerInfo.createTokenizerInfo([...tokens], spelling, false, tokens.length, [
    ...eos,
  ])
  compiler = await library.GrammarCompiler.createGrammarCompiler(info, false)
  return compiler
}

async function compile(hash: string, grammar: Grammar): Promise<void> {
  const parsed = await parse(grammar)
  const compiled = await (await compilerOf()).compileGrammar(parsed)
  parsed.dispose()
  await tryOut(compiled)
  grammars.set(hash, compiled)
}

/** Follows a text for some tokens, before anyone depends on this thread. Throws for a grammar that takes too long. */
async function tryOut(grammar: CompiledGrammar): Promise<void> {
  if (reading === undefined) return
  const { forcedText, utf8 } = reading
  const matcher = await library.GrammarMatcher.createGrammarMatcher(grammar, undefined, true)
  const text = new FollowedText({ matcher, utf8, forcedText, stopTokens: [] })
  try {
    let next: number | undefined
    for (let tokens = 0; tokens < triedTokens; tokens++) {
      const continuation = await text.after(next)
      if (continuation.status === 'slow')
        throw new Error(`${slowToFollow}; make its repetitions smaller, or fewer`)
      if (continuation.status !== 'open') return
      next = someToken(continuation.mask)
    }
  } finally {
    text.dispose()
  }
}

/** A token that a mask allows, from the middle of those. */
function someToken(mask: Int32Array): number | undefined {
  const allowed = [...mask.entries()].filter(([, word]) => word !== 0)
  const [at, word] = allowed[allowed.length >> 1] ?? []
  return at === undefined || word === undefined ? undefined : 32 * at + 31 - Math.clz32(word)
}

async function open({
  hash,
  isSpelledFreely,
  session,
  state,
  stopTokens,
}: Extract<ToWorker, { type: 'open' }>): Promise<void> {
  const shared = new Int32Array(state)
  const grammar = grammars.get(hash)
  if (grammar === undefined || reading === undefined) return publish(shared, { status: 'failed' })
  const matcher =
    stopTokens.length > 0
      ? await library.GrammarMatcher.createGrammarMatcher(grammar, [...stopTokens])
      : await library.GrammarMatcher.createGrammarMatcher(grammar, undefined, true)
  const { forcedText, utf8 } = reading
  const text = new FollowedText({
    matcher,
    utf8,
    forcedText: isSpelledFreely ? undefined : forcedText,
    stopTokens,
  })
  sessions.set(session, { text, state: shared })
  publish(shared, await text.after())
}

async function accept(session: number, token: number): Promise<void> {
  const found = sessions.get(session)
  if (found !== undefined) publish(found.state, await found.text.after(token))
}

function publish(state: Int32Array, continuation: Continuation): void {
  const { status } = continuation
  const forced = 'forced' in continuation ? continuation.forced : []
  state.set(forced, stateLayout.forced)
  state[stateLayout.forcedCount] = forced.length
  if (continuation.status === 'open') state.set(continuation.mask, stateLayout.mask)
  Atomics.store(state, stateLayout.status, statuses[status])
  Atomics.add(state, stateLayout.version, 1)
  Atomics.notify(state, stateLayout.version)
}

async function handle(message: ToWorker): Promise<void> {
  switch (message.type) {
    case 'check':
    case 'compile': {
      const { call, grammar, hash } = message
      try {
        if (message.type === 'check') (await parse(grammar)).dispose()
        else await compile(hash, grammar)
        answer({ call })
      } catch (thrown) {
        answer({ call, refusal: complaint(thrown), broken: true })
      }
      return
    }
    case 'open':
      return open(message)
    case 'accept':
      return accept(message.session, message.token)
    case 'forget':
      grammars.get(message.hash)?.dispose()
      grammars.delete(message.hash)
      return
    case 'close':
      sessions.get(message.session)?.text.dispose()
      sessions.delete(message.session)
      return
  }
}

/** xgrammar writes its reason to the console, behind its own source's place, before it gives up. */
function complaint(thrown: unknown): string {
  const last = complaints.findLast((line) => line.includes('.cc:'))
  complaints.length = 0
  const told = last ?? (thrown instanceof Error ? thrown.message : 'it cannot be taken')
  return told
    .replace(/^.*\.cc:\d+: /s, '')
    .replace(/\s+/g, ' ')
    .slice(0, 300)
}

function answer(message: FromWorker): void {
  parentPort?.postMessage(message)
}

let work: Promise<void> = Promise.resolve()
parentPort?.on('message', (message: ToWorker) => {
  work = work.then(() => handle(message))
})
