import type { OutputCall, OutputMessage, OutputText, ResponseObject } from '../../shared/api/responses.ts'
import type { PlacedToken } from '../streaming/choice-text.ts'
import type { AnswerPiece } from '../tools/call-pieces.ts'

export interface ItemEvent {
  readonly type: string
  readonly [field: string]: unknown
}

type Status = OutputMessage['status']

type Open =
  | { readonly kind: 'message'; readonly id: string; text: string; readonly tokens: PlacedToken[] }
  | {
      readonly kind: 'call'
      readonly id: string
      readonly callId: string
      readonly name: string
      text: string
    }

/** The output of a response while it comes: its items so far, and the events that tell of them. */
export class ResponseItems {
  readonly #name: string
  readonly #logprobsOf: (tokens: readonly PlacedToken[]) => OutputText['logprobs']
  readonly #done: ResponseObject['output'] = []
  #open: Open | undefined

  constructor({
    logprobsOf,
    name,
  }: {
    /** Makes the ids of items. */
    name: string
    logprobsOf: (tokens: readonly PlacedToken[]) => OutputText['logprobs']
  }) {
    this.#name = name
    this.#logprobsOf = logprobsOf
  }

  get output(): ResponseObject['output'] {
    return [...this.#done]
  }

  openMessage(): ItemEvent[] {
    const at = this.#done.length
    const open: Open = {
      kind: 'message',
      id: `msg_${this.#name}${at === 0 ? '' : `_${at}`}`,
      text: '',
      tokens: [],
    }
    this.#open = open
    return [
      {
        type: 'response.output_item.added',
        output_index: at,
        item: { ...this.#item(open, 'in_progress'), content: [] },
      },
      {
        type: 'response.content_part.added',
        ...this.#place(open),
        content_index: 0,
        part: this.#part('', []),
      },
    ]
  }

  /** Tokens without a text of their own. */
  keep(tokens: readonly PlacedToken[]): void {
    if (this.#open?.kind === 'message') this.#open.tokens.push(...tokens)
  }

  add(piece: AnswerPiece, tokens: readonly PlacedToken[]): ItemEvent[] {
    switch (piece.type) {
      case 'text': {
        const events =
          this.#open?.kind === 'message' ? [] : [...this.#closed('completed'), ...this.openMessage()]
        const open = this.#open
        if (open?.kind !== 'message') return events
        open.text += piece.text
        open.tokens.push(...tokens)
        return [
          ...events,
          {
            type: 'response.output_text.delta',
            ...this.#place(open),
            content_index: 0,
            delta: piece.text,
            logprobs: this.#logprobsOf(tokens),
          },
        ]
      }
      case 'call': {
        const events = this.#closed('completed')
        const id = `${this.#name}_${piece.call}`
        const open: Open = { kind: 'call', id: `fc_${id}`, callId: `call_${id}`, name: piece.name, text: '' }
        this.#open = open
        const item = this.#item(open, 'in_progress')
        return [...events, { type: 'response.output_item.added', output_index: this.#done.length, item }]
      }
      case 'arguments': {
        const open = this.#open
        if (open?.kind !== 'call') return []
        open.text += piece.text
        return [{ type: 'response.function_call_arguments.delta', ...this.#place(open), delta: piece.text }]
      }
    }
  }

  /** Ends the last item; an output without any has an empty message. */
  close(status: Status): ItemEvent[] {
    const opening = this.#open === undefined && this.#done.length === 0 ? this.openMessage() : []
    return [...opening, ...this.#closed(status)]
  }

  #closed(status: Status): ItemEvent[] {
    const open = this.#open
    if (open === undefined) return []
    const item = this.#item(open, status)
    const done = { type: 'response.output_item.done', output_index: this.#done.length, item }
    const place = this.#place(open)
    this.#done.push(item)
    this.#open = undefined
    if (open.kind === 'call')
      return [
        { type: 'response.function_call_arguments.done', ...place, name: open.name, arguments: open.text },
        done,
      ]
    const part = this.#part(open.text, open.tokens)
    return [
      {
        type: 'response.output_text.done',
        ...place,
        content_index: 0,
        text: open.text,
        logprobs: part.logprobs,
      },
      { type: 'response.content_part.done', ...place, content_index: 0, part },
      done,
    ]
  }

  #place({ id }: Open) {
    return { item_id: id, output_index: this.#done.length }
  }

  #part(text: string, tokens: readonly PlacedToken[]): OutputText {
    return { type: 'output_text', text, annotations: [], logprobs: this.#logprobsOf(tokens) }
  }

  #item(open: Open, status: Status): OutputMessage | OutputCall {
    if (open.kind === 'call')
      return {
        id: open.id,
        type: 'function_call',
        status,
        call_id: open.callId,
        name: open.name,
        arguments: open.text,
      }
    return {
      id: open.id,
      type: 'message',
      status,
      role: 'assistant',
      content: [this.#part(open.text, open.tokens)],
    }
  }
}
