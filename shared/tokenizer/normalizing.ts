import type { NormalizerStep } from './tokenizer-tables.ts'

/** A text as a tokenizer's normalizer changes it before anything else. */
export function normalizing(steps: readonly NormalizerStep[]): (text: string) => string {
  const changes = steps.map(change)
  return (text) => changes.reduce((changed, next) => next(changed), text)
}

function change(step: NormalizerStep): (text: string) => string {
  switch (step.type) {
    case 'unicode':
      return (text) => text.normalize(step.form)
    case 'lowercase':
      return (text) => text.toLowerCase()
    case 'prepend':
      return (text) => (text === '' ? '' : step.text + text)
    case 'replace': {
      const pattern = new RegExp(step.pattern, 'gu')
      return (text) => text.replace(pattern, () => step.content)
    }
  }
}
