import { expect, test } from 'vitest'
import { checkChatTemplate, chosenTemplate, defaultPrefix, renderQuestion } from './chat-template.ts'

const frame = { beginToken: '<s>', endToken: '</s>' }

const smollm2 =
  "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"

test('SmolLM2’s default system prompt is its prefix, whole even though its beginning token opens every turn', () => {
  for (const beginToken of ['<s>', '<|im_start|>'])
    expect(defaultPrefix(smollm2, { ...frame, beginToken })).toBe(
      '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n',
    )
})

test('a template without a default system prompt has none', () => {
  const chatml =
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
  const mistral =
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}{% else %}{{ m.content + eos_token }}{% endif %}{% endfor %}"
  expect(defaultPrefix(chatml, frame)).toBe('')
  expect(defaultPrefix(mistral, frame)).toBe('')
})

test('the prefix begins behind the beginning-of-sequence token, however the template writes it', () => {
  const turns = '{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}'
  expect(defaultPrefix(`{{ bos_token }}[system]Be kind.${turns}`, frame)).toBe('[system]Be kind.')
  expect(defaultPrefix(`<s>[system]Be kind.${turns}`, frame)).toBe('[system]Be kind.')
})

test('a template that treats the first turn in a way of its own has no prefix', () => {
  const inside =
    '{% for m in messages %}{{ m.role }}: {% if loop.first %}(Be kind.) {% endif %}{{ m.content }}\n{% endfor %}'
  const rewriting = '{{ messages | length }} messages {{ messages[0].content }}'
  const refusing =
    "{{ raise_exception('one message only') if messages | length > 1 }}{{ messages[0].content }}"
  for (const template of [inside, rewriting, refusing]) expect(defaultPrefix(template, frame)).toBe('')
})

test('a template that does not parse or render is refused', () => {
  expect(() => checkChatTemplate('{% for m in messages %}', frame)).toThrow(
    /chat template: it does not render/,
  )
  expect(() => checkChatTemplate("{{ raise_exception('never') }}", frame)).toThrow(/never/)
  expect(() => checkChatTemplate('x'.repeat(300_000), frame)).toThrow(/more than 262144 characters/)
})

test('a template that demands a system message is taken', () => {
  const demanding =
    "{{ raise_exception('system first') if messages[0].role != 'system' }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
  expect(() => checkChatTemplate(demanding, frame)).not.toThrow()
  expect(renderQuestion(demanding, frame)).toBe('[system]Instruction.[user]Question?')
})

test('a template that writes nothing is refused', () => {
  expect(() => checkChatTemplate('{% if false %}x{% endif %}', frame)).toThrow(/a conversation to nothing/)
})

test('of several named templates the default one is taken, and none by chance', () => {
  const templates = (names: string[]) => new Map(names.map((name) => [name, `of ${name}`]))
  expect(chosenTemplate(templates(['rag', 'default']), 'config')).toBe('of default')
  expect(chosenTemplate(templates(['chat']), 'config')).toBe('of chat')
  expect(chosenTemplate(templates([]), 'config')).toBe('')
  expect(() => chosenTemplate(templates(['rag', 'tool_use']), 'config')).toThrow(
    /templates rag, tool_use and none named default; name one of them default/,
  )
})
