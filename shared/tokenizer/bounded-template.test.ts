import { Template } from '@huggingface/jinja'
import { describe, expect, test } from 'vitest'
import { BoundedTemplate } from './bounded-template.ts'

const messages = [
  { role: 'system', content: 'Be kind.' },
  { role: 'user', content: 'Question?\n\nHow   many?' },
]
const rendered = (template: string) => new BoundedTemplate(template).render({ messages, bos_token: '<s>' })

/** A template that holds a text of half a million characters, and one with a list nested so often that its text has no end. */
const longText =
  "{% set ns = namespace(s='ab') %}{% for i in range(18) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}"
const deepList =
  "{% set ns = namespace(s=['ab']) %}{% for i in range(40) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}"

describe('a hostile template ends with an error in bounded time and memory:', () => {
  test.each([
    ['a loop over a huge range', '{% for i in range(1000000000) %}x{% endfor %}'],
    [
      'loops in loops',
      '{% for i in range(9000) %}{% for j in range(9000) %}{% set x = i %}{% endfor %}{% endfor %}',
    ],
    ['a range of huge numbers', '{{ range(0, 1, 0.0000000001) | length }}'],
    [
      'a macro that calls itself twice',
      '{% macro f(x) %}{% if x > 0 %}{{ f(x-1) }}{{ f(x-1) }}{% endif %}{% endmacro %}{{ f(40) }}',
    ],
    [
      'a text doubled again and again',
      "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    ],
    [
      'a list doubled again and again',
      '{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}',
    ],
    ['a list nested again and again, as JSON', `${deepList}{{ ns.s | tojson }}`],
    ['… as a text', `${deepList}{{ ns.s }}`],
    ['… joined', `${deepList}{{ ns.s | join }}`],
    ['… compared with a text', `${deepList}{{ ns.s == 'x' }}`],
    ['… added to a text', `${deepList}{{ ns.s ~ 'x' }}`],
    ['a huge indent', "{{ 'a\\nb' | indent(100000000) }}"],
    ['a huge indent of JSON', '{{ messages | tojson(indent=100000000) }}'],
    ['a long separator', "{{ range(10000) | join('x' ~ range(10000) | join('y')) }}"],
    ['long replacements', `${longText}{{ ns.s.replace('a', ns.s) }}`],
    ['long replacements by a filter', `${longText}{{ ns.s | replace('a', ns.s) }}`],
    ['long replacements by a computed name', `${longText}{{ ns.s['rep' ~ 'lace']('a', ns.s) }}`],
    [
      'splitting a long text often',
      `${longText}{% for i in range(50000) %}{{ ns.s.split('z') | length }}{% endfor %}`,
    ],
    ['searching a long text often', `${longText}{% for i in range(50000) %}{{ 'z' in ns.s }}{% endfor %}`],
    [
      'sorting long texts often',
      `${longText}{% for i in range(50000) %}{{ {'a': ns.s, 'b': ns.s}.dictsort(by='value') | length }}{% endfor %}`,
    ],
    [
      'cutting a long list often',
      '{% set x = range(50000) %}{% for i in range(50000) %}{{ x[1:] | length }}{% endfor %}',
    ],
    ['names that nothing has', '{% for i in range(60000) %}{{ a }}{{ a }}{{ a }}{{ a }}{% endfor %}'],
    ['dates', "{% for i in range(60000) %}{{ strftime_now('%B') }}{% endfor %}"],
  ])('%s', (_what, template) => {
    expect(() => rendered(template)).toThrow(/takes more than \d+ steps/)
  })

  test.each([
    ['parentheses without end', `{{ ${'('.repeat(100_000)}1 }}`],
    ['a sum without end', `{{ 1${'+1'.repeat(50_000)} }}`],
    [
      'a namespace that holds itself',
      '{% set ns = namespace() %}{% set ns.self = [ns] %}{{ ns.self | tojson }}',
    ],
    ['a macro that calls itself', '{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}'],
  ])('%s', (_what, template) => {
    expect(() => rendered(template)).toThrow(/nests too deep/)
  })

  test.each([
    ['in a variable', '{% set f = ns.s.replace %}{{ f("a", ns.s) }}'],
    ['in a list', '{{ [ns.s.replace][0]("a", ns.s) }}'],
    ['in a namespace', '{% set ns.f = ns.s.replace %}{{ ns.f("a", ns.s) }}'],
  ])('a method that it keeps %s', (_where, use) => {
    expect(() => rendered(longText + use)).toThrow(/a method must be called where it stands/)
  })

  test('blanks without end, of which the parser would take the square', () => {
    expect(() => new BoundedTemplate(`{%${' '.repeat(200_000)}`)).toThrow(/more than 256 blanks in a row/)
  })

  test('more characters than any model has', () => {
    expect(() => new BoundedTemplate('x'.repeat(300_000))).toThrow(/more than 262144 characters/)
  })
})

test('a template sees nothing of the language that it runs in', () => {
  expect(
    rendered(
      "{{ messages.__proto__ }}{{ messages.constructor }}{{ messages[0]['__proto__'] }}{{ ''.constructor }}{{ range.constructor }}{{ messages[0].hasOwnProperty }}",
    ),
  ).toBe('')
})

/** The engine without bounds is the reference. */
test.each([
  "{{ bos_token }}{% for m in messages %}{{ loop.index }}[{{ m['role'] }}]{{ m.content | trim ~ '!' }}{% if not loop.last %}, {% endif %}{% endfor %}",
  "{{ messages | tojson(indent=2) }}{{ messages | map(attribute='role') | join(', ') }}{{ messages | selectattr('role', 'equalto', 'user') | list | length }}",
  "{{ messages[1].content.split('\\n') | join('|') }}{{ messages[1]['content'].replace('Q', 'q', 1) | replace('?', '!') | upper }}",
  '{% set ns = namespace(all=[], n=0) %}{% for m in messages[::-1] %}{% set ns.all = ns.all + [m.role] %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.all }}{{ ns.n }}',
  '{% macro shown(m, mark="*") %}{{ mark }}{{ m.content }}{% endmacro %}{{ shown(messages[0]) }}{{ shown(messages[1], mark="-") }}',
  '{% macro framed() %}<{{ caller() }}>{% endmacro %}{% call framed() %}q{% endcall %}{% filter upper %}a{{ "b" }}{% endfilter %}',
  "{{ messages[0].items() | list | length }}{{ messages[0].get('name', 'none') }}{% if messages[0].items %}i{% endif %}{{ messages[0] | dictsort }}",
  "{% for i in range(2, 9, 3) %}{% if i == 5 %}{% continue %}{% endif %}{{ i }}{% endfor %}{{ [3, 1, 2] | sort(reverse=true) }}{{ strftime_now('%Y-%m-%d %b %B %%') }}",
  "{{ 'a' in 'abc' and 1 < 2 or nothing.at.all }}{{ nothing is defined }}{{ 'x' if messages == none else 'y' }}{{ 'a\\nb' | indent(2, first=true) }}",
])('a harmless template writes what it says: %s', (template) => {
  expect(rendered(template)).toBe(new Template(template).render({ messages, bos_token: '<s>' }))
})

test('the longest conversation that a request may hold has all the steps that it needs', () => {
  const template = `{%- for m in messages %}{%- if m.role == 'user' and m.content is string %}{{ '<|im_start|>' + m.role + '\n' + m.content | trim + '<|im_end|>' }}
    {%- elif m.role == 'assistant' %}{%- set parts = m.content.split('</think>') %}{{ parts | last }}{%- endif %}{%- endfor %}`
  const turns = Array.from({ length: 4_096 }, (_, at) => ({
    role: at % 2 === 0 ? 'user' : 'assistant',
    content: 'word '.repeat(48),
  }))
  expect(new BoundedTemplate(template).render({ messages: turns }).length).toBeGreaterThan(500_000)
})
