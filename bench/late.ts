import { z } from 'zod'
import { maxWindow } from '../shared/adapter-file.ts'
import { AliasName } from '../shared/ids.ts'
import { lateWindow } from '../shared/training/describe-adapter.ts'
import { type Peer, startPeer } from './peer.ts'
import { firstLoras, type PeerFiles, type PeerOptions, peerFiles } from './peer-files.ts'
import { type Quartet, startQuartet } from './quartet.ts'
import { randomFrom } from './random-adapter.ts'
import { type Figure, report } from './report.ts'
import { median } from './statistics.ts'

const answers = 4
/** As the trainer makes adapters by default. */
const m = 64
/** Tokens of the backbone's generation header. */
const tail = 4
/** Kept prompts are found by blocks of so many tokens. */
const block = 32

const words =
  'river boat wind tide harbour crew order late small city market road letter winter garden table'.split(' ')

/** A conversation of about 1,500 tokens. No two seeds begin alike, so a server has read none of it. */
function conversation(seed: number): { document: string; question: string } {
  const random = randomFrom(seed)
  const document = Array.from({ length: 1_440 }, () => words[Math.floor(random() * words.length)]).join(' ')
  return {
    document,
    question: 'Which of the words of this list are things that a sailor needs on a journey, and why?',
  }
}

const Answer = z.object({
  usage: z.object({
    prompt_tokens: z.int(),
    prompt_tokens_details: z.object({ cached_tokens: z.int() }).optional(),
  }),
})

async function post(url: string, { body, key = '' }: { body: unknown; key?: string }): Promise<unknown> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  if (!response.ok) throw new Error(`${url} answered ${response.status}: ${await response.text()}`)
  return response.json()
}

/** The time and the cached tokens of the answers to one conversation. */
interface Asked {
  /** Until the last of the answers, of one token each. */
  readonly ms: number
  /** Tokens of the conversation, and those that each answer found in the cache. */
  readonly tokens: number
  readonly cached: readonly number[]
}

/** Asks each model at once about a conversation that the node has not read: a request for each, or one for all. */
async function ask(
  { edge, key }: Quartet,
  {
    models,
    seed,
  }: { models: readonly ({ model: AliasName } | { models: readonly AliasName[] })[]; seed: number },
): Promise<Asked> {
  const { document, question } = conversation(seed)
  const messages = [
    { role: 'system', content: document },
    { role: 'user', content: question },
  ]
  const start = performance.now()
  const got = await Promise.all(
    models.map((asked) =>
      post(`${edge}/v1/chat/completions`, {
        key,
        body: { ...asked, messages, max_tokens: 1, ignore_eos: true },
      }),
    ),
  )
  const ms = performance.now() - start
  const usages = got.map((answer) => Answer.parse(answer).usage)
  return {
    ms,
    tokens: Math.max(...usages.map(({ prompt_tokens }) => prompt_tokens)),
    cached: usages.map(({ prompt_tokens_details }) => prompt_tokens_details?.cached_tokens ?? 0),
  }
}

/** Milliseconds until llama.cpp's server has the first token of each LoRA, over one prompt that it has not read. */
async function askPeer(
  { url }: Peer,
  { loras, seed }: { loras: readonly number[]; seed: number },
): Promise<number> {
  const { document, question } = conversation(seed)
  const start = performance.now()
  await Promise.all(
    loras.map((chosen) =>
      post(url, {
        body: {
          prompt: `${document}\n${question}\n`,
          n_predict: 1,
          cache_prompt: true,
          temperature: 0,
          lora: Array.from({ length: answers }, (_, id) => ({ id, scale: id === chosen ? 1 : 0 })),
        },
      }),
    ),
  )
  return performance.now() - start
}

/** llama.cpp's server with four LoRAs, asked as the stack is. */
async function openPeer({ folder, ggufs: [gguf], loras = [] }: PeerFiles): Promise<Peer> {
  const files = firstLoras(loras, answers)
  return await startPeer({ folder, gguf, loras: files, slots: answers, contextLength: 2048, port: 18_791 })
}

/** Aliases of adapters of one placement that are the same but for their weights. */
async function publish(
  quartet: Quartet,
  metadata: Readonly<Record<string, string>>,
): Promise<readonly AliasName[]> {
  const aliases = Array.from({ length: answers }, (_, at) => AliasName.parse(`${metadata.placement}-${at}`))
  for (const [seed, alias] of aliases.entries())
    await quartet.publish(alias, { seed, metadata: { m: String(m), ...metadata } })
  return aliases
}

/**
 * `npm run bench -- late`: the first tokens of several aliases' answers to one conversation, asked for at once, by
 * `POST /v1/chat/completions` through edge and node.
 */
export async function benchLate(options: PeerOptions): Promise<boolean> {
  const files = peerFiles(options)
  await using peer = files && (await openPeer(files))
  await using quartet = await startQuartet(0)
  const late = await publish(quartet, { placement: 'late', tail: String(tail), window: String(lateWindow) })
  const window = String(maxWindow)
  const turn = await publish(quartet, { placement: 'turn', window })
  const front = await publish(quartet, { placement: 'after-first', window })
  const each = (aliases: readonly AliasName[]) => aliases.map((model) => ({ model }))
  const sides = {
    one: each(late.slice(0, 1)),
    four: each(late),
    together: [{ models: late }],
    turns: each(turn),
    inFront: each(front),
  }
  let seed = 1
  for (const models of [sides.four, sides.turns, sides.inFront]) await ask(quartet, { models, seed: seed++ })
  const rounds: Record<keyof typeof sides, Asked>[] = []
  const peerRounds: { readonly one: number; readonly four: number }[] = []
  for (let round = 0; round < (files?.rounds ?? 3); round++) {
    rounds.push({
      one: await ask(quartet, { models: sides.one, seed: seed++ }),
      four: await ask(quartet, { models: sides.four, seed: seed++ }),
      together: await ask(quartet, { models: sides.together, seed: seed++ }),
      turns: await ask(quartet, { models: sides.turns, seed: seed++ }),
      inFront: await ask(quartet, { models: sides.inFront, seed: seed++ }),
    })
    if (peer === undefined) continue
    peerRounds.push({
      one: await askPeer(peer, { loras: [0], seed: seed++ }),
      four: await askPeer(peer, { loras: [0, 1, 2, 3], seed: seed++ }),
    })
  }
  const time = (name: string, side: keyof typeof sides): Figure => ({
    name,
    value: median(rounds.map((round) => round[side].ms)),
    unit: 'ms',
  })
  const ratio = (
    name: string,
    { of, to, most }: { of: keyof typeof sides; to: keyof typeof sides; most: number },
  ): Figure => ({
    name,
    value: median(rounds.map((round) => round[of].ms / round[to].ms)),
    unit: '×',
    bound: { kind: 'at most', value: most },
  })
  // Whole blocks in front of the window, of the three that did not read the conversation.
  const tokens = Math.min(...rounds.map(({ four }) => four.tokens))
  const found = rounds.flatMap(({ four }) => four.cached.toSorted((a, b) => a - b).slice(1))
  return report(
    `Late rows: ${answers} answers to a conversation of ${tokens} tokens, through edge and node`,
    [
      time('one late answer', 'one'),
      time('four late answers, a request each', 'four'),
      time('four late answers in one request', 'together'),
      ratio('four / one', { of: 'four', to: 'one', most: 1.3 }),
      ratio('four in one request / one', { of: 'together', to: 'one', most: 1.3 }),
      time('four answers with rows in front of the newest turn', 'turns'),
      ratio('newest turn / one late answer', { of: 'turns', to: 'one', most: 1.3 }),
      time('four answers with rows in front of the conversation', 'inFront'),
      ratio('late / in front, four answers', { of: 'four', to: 'inFront', most: 0.5 }),
      {
        name: 'tokens that the second to fourth late answer found in the cache',
        value: Math.min(...found),
        unit: '',
        bound: { kind: 'at least', value: Math.floor((tokens - tail - lateWindow) / block) * block },
      },
      ...(peer === undefined
        ? []
        : [
            { name: 'llama-server, one LoRA', value: median(peerRounds.map(({ one }) => one)), unit: 'ms' },
            {
              name: 'llama-server, four LoRAs',
              value: median(peerRounds.map(({ four }) => four)),
              unit: 'ms',
            },
            {
              name: 'late / llama-server, four answers',
              value: median(
                rounds.map(({ four }, round) => four.ms / (peerRounds[round]?.four ?? Number.NaN)),
              ),
              unit: '×',
            },
          ]),
    ],
  )
}
