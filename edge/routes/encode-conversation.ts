import { ChatTemplate, type Encoding } from '../../shared/tokenizer/chat-template.ts'
import type { Turn } from '../../shared/tokenizer/conversation.ts'
import type { ModelWithCodec } from '../tenants/load-codec.ts'
import { hasRowsAtTurn, tailOf } from '../tenants/resolve-model.ts'
import type { Encoded } from './encode-prompts.ts'
import { promptRoom } from './fit-context.ts'

interface Conversation extends ModelWithCodec, Partial<Omit<Encoding, 'tuned'>> {}

/**
 * A conversation as the model was trained to read it, and where late rows or those of its newest turn stand in it. By
 * default it has room for so many tokens that one more can follow.
 */
export function encodeConversation(
  messages: readonly Turn[],
  { codec, model, room = promptRoom(model), ...asked }: Conversation,
): Encoded {
  const template = ChatTemplate.of(model.record, codec)
  const encoding = { ...asked, room, tuned: model.adapters.length > 0 }
  const ids = template.encode(messages, encoding)
  const turn = hasRowsAtTurn(model) ? template.turnOf({ messages, ids }, encoding) : 0
  const late =
    tailOf(model) === undefined
      ? {}
      : {
          tail: template.tailOf({ messages, ids }, encoding),
          // Without a header rows stand as in a raw prompt, whatever the template writes otherwise.
          ...(asked.end === 'message'
            ? {}
            : { header: template.generationHeader(model.record.backbone.contextLength) }),
        }
  return {
    ids,
    ...late,
    turn: turn === 0 ? undefined : turn,
  }
}
