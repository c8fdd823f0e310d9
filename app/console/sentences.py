"""Sentences that no call holds whole, for the translators: with values in them ({}), or of libraries."""


def marked(sentence: str) -> str:
    """`sentence`, which `make words` finds by this name."""
    return sentence


SENTENCES = (
    marked(": "),
    # pydantic
    marked("field required"),
    marked("input should be a valid string"),
    marked("input should be {}, {}, {} or {}"),
    marked("string should have at least {} character"),
    marked("string should have at least {} characters"),
    marked("string should have at most {} characters"),
    marked("is not a known field"),
    # values, schemas, columns
    marked("email or username has to be there"),
    marked("must have {} to {} characters"),
    marked("is no email address"),
    marked("An email address must have an @-sign."),
    marked("There must be something before the @-sign."),
    marked("There must be something after the @-sign."),
    marked("The part after the @-sign is not valid. It should have a period."),
    # reading: JSON in a field, and the address of a list
    marked("It is not JSON"),
    marked("It is nested too deeply."),
    marked("It must not hold U+0000."),
    marked("It must not hold half of a surrogate pair."),
    marked("It holds a number of too many digits."),
    marked("must be a JSON object"),
    marked("input should be a valid dictionary"),
    marked("Expecting value at line {}, column {}."),
    marked("Expecting property name enclosed in double quotes at line {}, column {}."),
    marked("Expecting {} delimiter at line {}, column {}."),
    marked("Extra data at line {}, column {}."),
    marked("Illegal trailing comma before end of object at line {}, column {}."),
    marked("Illegal trailing comma before end of array at line {}, column {}."),
    marked("Invalid control character at at line {}, column {}."),
    marked("Unterminated string starting at at line {}, column {}."),
    marked("Invalid \\escape at line {}, column {}."),
    marked("The name {} stands twice in one JSON object."),
    marked("The number {} is too large."),
    marked("This address can't be read."),
    marked("Something in this address is not right: {}."),
    marked("Something in this form is not right: {}."),
    marked("Nobody is picked."),
    # authority, tokens, limits, sessions
    marked("The role {} may not touch a user with the role {}."),
    marked("The role {} may not hand out the role {}."),
    marked("The role {} may not change the role of a user."),
    marked("The role {} may not change this of its own record: {}"),
    marked("{} may not be changed by its own user"),
    marked("may be changed by administrators only"),
    marked("A token may not change how its own user signs in. Sign in with the password, then change it."),
    marked("may not be changed by a token of this user"),
    marked("To change how you sign in, give your current password, unless you signed in less than five minutes ago."),
    marked("must be given to change your own username, email or password"),
    marked("The current password is not right."),
    marked("is not right"),
    marked("must not be above the user's own, {}"),
    marked("This needs the role {}."),
    marked("This needs the role {}, or to be your own record."),
    marked("This credential may make {} writes a minute."),
    marked("Too many attempts to sign in. Wait, or ask an administrator to unlock."),
    marked("Sessions are out of reach. Try again shortly, or use an API token."),
    marked("This session has ended. Sign in again."),
    marked("The username or email, or the password, is not right."),
    # errors, by what they are
    marked("Another user has this email."),
    marked("Another user has this username."),
    marked("Another user has the email of {}."),
    marked("Another user has the username of {}."),
    # bulk, administrators
    marked("This is the last active administrator. Make another one first."),
    marked("No active administrator would be left. Make another one first."),
    marked("These are more than {} users, and no more are changed at once. Narrow the search."),
    marked("The number of users is {} now, not {}. Look again, then decide."),
    marked("Giving roles needs the role {}."),
    marked("Changing others needs the role {}."),
    marked(
        "{} of these {} users may not be touched, {} for one. The role {} may not touch a user with the role {}."
        " Filtering by role leaves them out."
    ),
    marked("{} of these {} users may not be touched, {} for one. {} Filtering by role leaves them out."),
)
