// One's own account: who one is, the password, and the end of it.
import { Problem } from '../api.js';
import { announce, call, knowUser, logOut, useSession } from '../session.js';
import { Badge, Confirm, Field, FormTrouble, Page, Spinner, Submit, Time, Trouble, useForm, useLoaded } from '../ui.js';
import { html, useState } from '../view.js';

export function Profile() {
  const { user } = useSession();
  const loaded = useLoaded(async () => knowUser(await (await call('/users/me')).json()), 'me');
  if (loaded.problem) return html`<${Page} title="Profile"><${Trouble} problem=${loaded.problem} retry=${loaded.again} /><//>`;
  if (!user) return html`<${Page} title="Profile"><${Spinner} /><//>`;
  return html`
    <${Page} title="Profile">
      <div class="columns">
        <${About} key=${user.version} user=${user} />
        <${Password} user=${user} />
        <${Farewell} user=${user} />
      </div>
    <//>
  `;
}

function About({ user }) {
  const form = useForm(async ({ email, username, name }) => {
    const json = { email, username: username || null, name: name.trim() || null };
    const response = await call('/users/me', { method: 'PATCH', headers: { 'if-match': `"${user.version}"` }, json });
    knowUser(await response.json());
    announce('Your profile was saved.');
  });
  return html`
    <section class="card" aria-labelledby="about-me">
      <h2 id="about-me">About you</h2>
      <p class="badges">${user.roles.map((role) => html`<${Badge}>${role}<//>`)}<span class="fine">registered <${Time} at=${user.created_at} /></span></p>
      <form ...${form.props} class="stack">
        <${FormTrouble} form=${form} fields=${['email', 'username', 'name']} />
        <${Field} form=${form} name="name" label="Name" optional defaultValue=${user.name ?? ''} autocomplete="name" />
        <${Field} form=${form} name="username" label="User name" optional defaultValue=${user.username ?? ''} autocomplete="username" autocapitalize="none" />
        <${Field} form=${form} name="email" label="E-mail address" type="email" defaultValue=${user.email} autocomplete="email" />
        <div class="actions"><${Submit} form=${form}>Save<//></div>
      </form>
    </section>
  `;
}

function Password({ user }) {
  const form = useForm(async ({ current_password, new_password, confirmed }, element) => {
    if (new_password !== confirmed) throw Problem.ofField('confirmed', 'The two new passwords differ.');
    try {
      await call('/users/me/password', { method: 'PUT', json: { current_password, new_password } });
    } catch (problem) {
      throw problem.code === 'invalid_credentials' ? problem.about('current_password') : problem;
    }
    element.reset();
    announce('Your password was changed, and all your other sessions were ended.');
  });
  return html`
    <section class="card" aria-labelledby="password">
      <h2 id="password">Password</h2>
      <p class="fine">A new password ends all your other sessions. This one goes on with a new access token.</p>
      <form ...${form.props} class="stack">
        <${FormTrouble} form=${form} fields=${['current_password', 'new_password', 'confirmed']} />
        <input class="hidden" type="text" name="user" autocomplete="username" value=${user.email} tabindex="-1" readonly aria-hidden="true" />
        <${Field} form=${form} name="current_password" label="Present password" type="password" autocomplete="current-password" />
        <${Field} form=${form} name="new_password" label="New password" type="password" autocomplete="new-password" hint="8 characters or more; a few unrelated words are best" />
        <${Field} form=${form} name="confirmed" label="New password once more" type="password" autocomplete="new-password" />
        <div class="actions"><${Submit} form=${form}>Change the password<//></div>
      </form>
    </section>
  `;
}

function Farewell({ user }) {
  const [asking, setAsking] = useState(false);
  const remove = async () => {
    await call('/users/me', { method: 'DELETE', headers: { 'if-match': `"${user.version}"` } });
    await logOut();
    announce('Your account is gone.');
  };
  return html`
    <section class="card" aria-labelledby="farewell">
      <h2 id="farewell">Delete the account</h2>
      <p class="fine">Your account and all its sessions end at once, everywhere.</p>
      <div class="actions"><button type="button" class="button danger-quiet" onClick=${() => setAsking(true)}>Delete my account</button></div>
      ${asking && html`
        <${Confirm} title="Delete your account?" action="Delete my account" onConfirm=${remove} onClose=${() => setAsking(false)}>
          <p>${user.email} will not be able to log in any more. This cannot be undone.</p>
        <//>`}
    </section>
  `;
}
