import { z } from 'zod'
import { AdapterDigest, BackboneDigest, BackboneSlug, RequestId, SettlementId } from './ids.ts'

/**
 * The protocol between edge and node. Token ids only: no text, no tenant names, no templates.
 *
 * - `POST /v1/generate`: GenerateRequest in, newline-delimited GenerateEvents out.
 * - `PUT /v1/adapters/{digest}`: an adapter file in, PutAdapterResponse out.
 * - `POST /v1/settlements`: SettlementsRequest in, SettlementsResponse out (settlement.ts).
 * - `GET /v1/node`: NodeInfo out.
 *
 * Each call carries `authorization: Bearer {node token}` (node-token.ts). Errors are ErrorBody (errors.ts).
 */

/** The limit is below the 100 MB that Cloudflare lets a request's body have. */
export const maxAdapterBytes = 95 * 1024 * 1024
/** An edge gives up a push that takes longer; for the largest adapter that is 13 Mbit/s. A node waits for longer. */
export const pushTimeoutMs = 60_000
export const maxGenerateBytes = 4 * 1024 * 1024
const maxStopTokens = 64
/** Token sequences that an answer may be kept from, and tokens in one. */
const maxBadWords = 128
const maxBadWordTokens = 512
/** Late adapters whose rows may stand one behind the other. */
export const maxStacked = 4
/** Tokens of a prompt that may stand behind late rows. */
export const maxTail = 512
export const maxTopLogprobs = 20
/** The most log-probabilities of one prompt's tokens, alternatives included, that a node and an edge hold at a time. */
export const maxPromptLogprobs = 131_072
/** Numbers in the longest embedding. */
const maxDimensions = 32_768
/** Tokens of a prompt in one event. */
export const maxScoresPerEvent = 64
export const maxAcknowledged = 256

const tokenId = z.int().min(0).max(0x7fffffff)

/**
 * How the next token is chosen. Stages apply in the order bias, repetition, penalties, bad words, minimum, temperature,
 * top_k, top_p, min_p.
 */
export const Sampling = z.strictObject({
  /** 0 is greedy. */
  temperature: z.number().min(0).max(2),
  topP: z.number().gt(0).max(1),
  /** 0 keeps every token. */
  topK: z.int().min(0).max(1_000_000),
  minP: z.number().min(0).max(1),
  frequencyPenalty: z.number().min(-2).max(2),
  presencePenalty: z.number().min(-2).max(2),
  /** Divides positive logits of tokens in prompt or answer, multiplies negative ones; absent means 1. */
  repetitionPenalty: z.number().gt(0).max(2).optional(),
  /** The tokens that are chosen before a stop token may be; absent means none. */
  minTokens: z.int().min(0).max(262_144).optional(),
  logitBias: z.array(z.tuple([tokenId, z.number().min(-100).max(100)])).max(1024),
  /** The last token of each is not chosen behind the others, unless a grammar leaves no other choice. */
  badWords: z.array(z.array(tokenId).min(1).max(maxBadWordTokens)).max(maxBadWords).optional(),
  /** The same seed gives the same draws for the same logits; absent means a fresh random seed. */
  seed: z.int().min(0).max(Number.MAX_SAFE_INTEGER).optional(),
})
export type Sampling = z.infer<typeof Sampling>

/** The most likely token each time. */
export const greedySampling: Sampling = {
  temperature: 0,
  topP: 1,
  topK: 0,
  minP: 0,
  frequencyPenalty: 0,
  presencePenalty: 0,
  logitBias: [],
}

export const maxGrammarLength = 128 * 1024

/** Parts of a composed grammar. */
const maxGrammarParts = 130

const SimpleGrammar = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('json_schema'), schema: z.string().min(2).max(maxGrammarLength) }),
  z.strictObject({ kind: z.literal('regex'), pattern: z.string().min(1).max(maxGrammarLength) }),
  /** Its first rule is `root`. */
  z.strictObject({ kind: z.literal('ebnf'), grammar: z.string().min(1).max(maxGrammarLength) }),
])
export type SimpleGrammar = z.infer<typeof SimpleGrammar>

/** The form that an answer must have. Its text never enters a log. */
export const Grammar = z.discriminatedUnion('kind', [
  ...SimpleGrammar.options,
  /** EBNF that refers to `parts` by the rules `part_0`, `part_1` and so on. */
  z.strictObject({
    kind: z.literal('composed'),
    grammar: z.string().min(1).max(maxGrammarLength),
    parts: z.array(SimpleGrammar).min(1).max(maxGrammarParts),
  }),
])
export type Grammar = z.infer<typeof Grammar>

export const GenerateRequest = z
  .strictObject({
    requestId: RequestId,
    backbone: BackboneDigest,
    /** null asks for the untuned backbone. */
    adapter: AdapterDigest.nullable(),
    /** Further late adapters, whose rows stand behind those of `adapter`, in order. */
    behind: z
      .array(AdapterDigest)
      .min(1)
      .max(maxStacked - 1)
      .optional(),
    /** How many of the prompt's tokens stand behind late rows; absent means as many as the adapter says. */
    tail: z.int().min(1).max(maxTail).optional(),
    /**
     * How many of the prompt's tokens stand in front of its newest turn, where an adapter of the placement turn has its
     * rows; absent where the whole prompt is the newest turn. One alone is not told apart from none: rows stand behind the
     * first token, the attention sink, in either case.
     */
    turn: z.int().min(2).max(262_143).optional(),
    prompt: z.array(tokenId).min(1).max(262_144),
    /** 0 reads the prompt and generates nothing. */
    maxTokens: z.int().min(0).max(262_144),
    sampling: Sampling,
    /** Token ids that end the sequence; the backbone's end-of-sequence ids are the edge's to include. */
    stopTokens: z.array(tokenId).max(maxStopTokens),
    /** Only tokens that keep to it are chosen; a stop token only where it may end. */
    grammar: Grammar.optional(),
    /**
     * The grammar is of what follows the first of these tokens, and any token may come until then; absent means at
     * once.
     */
    grammarAfter: z.array(tokenId).min(1).max(16).optional(),
    /** Log-probabilities of the chosen token and this many alternatives; null sends none. */
    logprobs: z.int().min(0).max(maxTopLogprobs).nullable(),
    /** Log-probabilities of the prompt's tokens and this many alternatives; absent sends none. */
    promptLogprobs: z.int().min(0).max(maxTopLogprobs).optional(),
    /** The mean of the last hidden states of the prompt's tokens, scaled to length 1; needs 0 `maxTokens`. */
    embedding: z.literal('mean').optional(),
    /** Runs when nobody else waits; absent: in turn. */
    priority: z.literal('low').optional(),
    /** Among the waiting requests of its tenant it goes before those of a larger number; 0 when absent. */
    ownPriority: z
      .int()
      .min(-(2 ** 31))
      .max(2 ** 31 - 1)
      .optional(),
    /** The node gives up this long after it received the request, in milliseconds. */
    timeoutMs: z.int().min(1).max(3_600_000),
    /**
     * The name under which the node keeps this call's usage until an edge acknowledges it. Without it, the node keeps
     * nothing.
     */
    settlement: z.strictObject({ id: SettlementId, terms: z.string().max(1024) }).optional(),
    /** Earlier settlements of the same tenant that are charged: the node forgets them. */
    acknowledge: z.array(SettlementId).max(maxAcknowledged).optional(),
  })
  .refine(({ prompt, turn }) => turn === undefined || turn < prompt.length, {
    path: ['turn'],
    error: 'must be less than the number of tokens of the prompt: the newest turn has one at least',
  })
  .refine(({ embedding, maxTokens }) => embedding === undefined || maxTokens === 0, {
    path: ['embedding'],
    error: 'needs 0 maxTokens, as nothing is generated',
  })
  .refine(({ embedding, promptLogprobs }) => embedding === undefined || promptLogprobs === undefined, {
    path: ['embedding'],
    error: 'does not go with promptLogprobs',
  })
export type GenerateRequest = z.infer<typeof GenerateRequest>

/** The adapters whose rows a request is to have, in order; none for the untuned backbone. */
export const adaptersOf = ({
  adapter,
  behind = [],
}: Pick<GenerateRequest, 'adapter' | 'behind'>): readonly AdapterDigest[] =>
  adapter === null ? [] : [adapter, ...behind]

export const FinishReason = z.enum(['stop', 'length'])
export type FinishReason = z.infer<typeof FinishReason>

/**
 * Counts are the node's own and final: the tokens that were prefilled and those that were sampled (a stop token
 * included).
 */
export const Usage = z.strictObject({
  promptTokens: z.int().min(0),
  /** Rows that were made of the adapter, which are work like prompt tokens; absent when there were none. */
  promptRows: z.int().min(1).optional(),
  /** Prompt tokens whose cache rows an earlier request had left; absent when there were none. */
  cachedTokens: z.int().min(1).optional(),
  completionTokens: z.int().min(0),
})
export type Usage = z.infer<typeof Usage>

/** Milliseconds from the request's arrival at the node. */
export const Timings = z.strictObject({
  queueMs: z.number().min(0),
  prefillMs: z.number().min(0),
  decodeMs: z.number().min(0),
})
export type Timings = z.infer<typeof Timings>

/** How likely the model held a token of the prompt behind those in front of it. */
export const TokenScore = z.strictObject({
  logprob: z.number(),
  /** 1 for the likeliest token. */
  rank: z.int().min(1),
  /** Most likely first. */
  top: z.array(z.tuple([tokenId, z.number()])).max(maxTopLogprobs),
})
export type TokenScore = z.infer<typeof TokenScore>

/** One line of a generate stream. It ends with exactly one `done` or `error`. */
export const GenerateEvent = z.discriminatedUnion('type', [
  /** The scores of the prompt's tokens from the second on, in order. They come in front of the first token. */
  z.strictObject({ type: z.literal('prompt'), scores: z.array(TokenScore).min(1).max(maxScoresPerEvent) }),
  /** The embedding that the request asks for, base64 of its numbers (vector.ts). It comes in front of the end. */
  z.strictObject({
    type: z.literal('embedding'),
    vector: z.string().max(Math.ceil((4 * maxDimensions) / 3) * 4),
  }),
  z.strictObject({
    type: z.literal('token'),
    id: tokenId,
    /** True for the stop token itself, which has no text. */
    stop: z.boolean().optional(),
    /** Comes with the first token, as in `Usage`. */
    cachedTokens: z.int().min(1).optional(),
    logprob: z.number().optional(),
    /** Most likely first. */
    top: z.array(z.tuple([tokenId, z.number()])).optional(),
  }),
  z.strictObject({ type: z.literal('done'), reason: FinishReason, usage: Usage, timings: Timings }),
  z.strictObject({
    type: z.literal('error'),
    code: z.string(),
    message: z.string(),
    usage: Usage.optional(),
  }),
])
export type GenerateEvent = z.infer<typeof GenerateEvent>

export const PutAdapterResponse = z.strictObject({ digest: AdapterDigest, bytes: z.int() })
export type PutAdapterResponse = z.infer<typeof PutAdapterResponse>

export const NodeInfo = z.object({
  backbone: z.object({ slug: BackboneSlug, digest: BackboneDigest }),
  contextLength: z.int(),
  running: z.int(),
  waiting: z.int(),
  maxBatch: z.int(),
  residentAdapters: z.int(),
  draining: z.boolean(),
})
export type NodeInfo = z.infer<typeof NodeInfo>
