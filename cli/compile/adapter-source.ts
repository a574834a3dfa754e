import { renderQuestion } from '../../model/import/chat-template.ts'
import { encode } from '../../model/import/tokenizer.ts'
import type { BackboneManifest } from '../../shared/backbone.ts'
import { BoundedTemplate } from '../../shared/tokenizer/bounded-template.ts'
import { defaultPrompt, type Render, renderWithoutDefault } from '../../shared/tokenizer/default-prompt.ts'
import type { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import { CliFailure } from '../command/failure.ts'
import type { AdapterSource } from './messages.ts'

/** The parts of a backbone that turn text into tokens. */
interface Reader {
  readonly manifest: Pick<BackboneManifest, 'chat' | 'tokens'>
  readonly codec: TextCodec
}

/** The text that serving the adapter puts in front of the prompt, behind `beginToken` where there is one. */
export function sourceText(source: AdapterSource, reader: Reader): string {
  if (source.kind === 'text') return source.text
  if (reader.manifest.chat.template === '')
    throw new CliFailure('this backbone has no chat template', { remedy: 'compile plain text with --text' })
  const render: Render = (messages) => renderBehind('', { messages, reader })
  const prompt = defaultPrompt(render, '')
  const request = { role: 'user', content: 'Question?' } as const
  // Many templates end a turn in another way when nothing follows it, so a request follows and is cut off.
  const alone = renderWithoutDefault([request], { render, prompt })
  const whole = renderWithoutDefault([...source.messages, request], { render, prompt })
  if (whole.endsWith(alone) && whole.length > alone.length) return whole.slice(0, -alone.length)
  throw new CliFailure(
    "the chat template writes these messages into the turn of the user's request, so no adapter can stand in front of it",
    { remedy: 'compile the text itself with --text' },
  )
}

/** The conversation as the template writes it with this text as beginning-of-sequence token. */
function renderBehind(
  begin: string,
  { messages, reader: { codec, manifest } }: { messages: Parameters<Render>[0]; reader: Reader },
): string {
  try {
    return new BoundedTemplate(manifest.chat.template).render({
      messages,
      bos_token: begin,
      eos_token: endToken({ codec, manifest }),
      add_generation_prompt: true,
    })
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : 'it failed'
    throw new CliFailure(`the backbone's chat template refuses the messages: ${reason}`, {
      remedy: 'change the messages, or compile the text itself with --text',
    })
  }
}

function endToken({ codec, manifest }: Reader): string {
  const [end] = manifest.tokens.eos
  return end === undefined ? '' : codec.vocabulary.spelledText(end)
}

/** The token that every prompt of a backbone starts with, put there by its tokenizer or its chat template. */
export function beginToken(reader: Reader): number | undefined {
  const { codec, manifest } = reader
  const framed = codec.encodePrompt('a', { tokens: Number.POSITIVE_INFINITY, param: 'prompt' })
  const [first] = framed
  if (framed.length > encode(codec, 'a').length && first === manifest.tokens.bos) return first
  if (manifest.chat.template === '') return undefined
  const mark = '\u{f0000}'
  const template = manifest.chat.template
  const rendered = renderQuestion(template, { endToken: endToken(reader), beginToken: mark })
  return rendered.startsWith(mark) ? (manifest.tokens.bos ?? undefined) : undefined
}
