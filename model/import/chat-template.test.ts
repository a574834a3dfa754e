import { expect, test } from 'vitest'
import { checkChatTemplate, chosenTemplate, renderQuestion } from './chat-template.ts'

const frame = { beginToken: '<s>', endToken: '</s>' }

const stated = (template: string) => ({ template, place: 'template.jinja' })

test('a template that does not parse or render is refused', () => {
  expect(() => checkChatTemplate(stated('{% for m in messages %}'), frame)).toThrow(
    /template.jinja: the chat template does not render.*; give another template/,
  )
  expect(() => checkChatTemplate(stated("{{ raise_exception('never') }}"), frame)).toThrow(/never/)
  expect(() => checkChatTemplate(stated('x'.repeat(300_000)), frame)).toThrow(/more than 262144 characters/)
})

test('a template that runs without end is refused', () => {
  const endless = '{% for i in range(1000000000) %}x{% endfor %}{{ messages[0].content }}'
  expect(() => checkChatTemplate(stated(endless), frame)).toThrow(
    /template.jinja: the chat template does not render \(it takes more than \d+ steps\); give another template/,
  )
})

test('a template that demands a system message is taken', () => {
  const demanding =
    "{{ raise_exception('system first') if messages[0].role != 'system' }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
  expect(() => checkChatTemplate(stated(demanding), frame)).not.toThrow()
  expect(renderQuestion(demanding, frame)).toBe('[system]Instruction.[user]Question?')
})

test('a template that leaves out what the user wrote is refused', () => {
  const parts =
    "{% for m in messages %}[{{ m.role }}]{{ m.content | selectattr('type', 'equalto', 'text') | map(attribute='text') | join }}{% endfor %}"
  expect(() => checkChatTemplate(stated(parts), frame)).toThrow(/chat template/)
  const first = '{% for m in messages %}[{{ m.role }}]{{ m.content[0].text }}{% endfor %}'
  expect(() => checkChatTemplate(stated(first), frame)).toThrow(/leaves the text of the user's message out/)
  expect(() => checkChatTemplate(stated('Hello'), frame)).toThrow(/leaves the text of the user's message out/)
})

test('a template that writes nothing is refused', () => {
  expect(() => checkChatTemplate(stated('{% if false %}x{% endif %}'), frame)).toThrow(
    /a conversation to nothing/,
  )
})

test('the default one of several named templates is taken, and none by chance', () => {
  const templates = (names: string[]) => new Map(names.map((name) => [name, `of ${name}`]))
  expect(chosenTemplate(templates(['rag', 'default']), 'config')).toBe('of default')
  expect(chosenTemplate(templates(['chat']), 'config')).toBe('of chat')
  expect(chosenTemplate(templates([]), 'config')).toBe('')
  expect(() => chosenTemplate(templates(['rag', 'tool_use']), 'config')).toThrow(
    /templates rag, tool_use and none named default; name one of them default/,
  )
})
