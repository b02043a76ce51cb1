use super::comes_back_everywhere;
use meshdrive_tests::{World, have, tool};
use std::fs;

/// What "Save" does, as a macro: the profile of a first start has an empty module of this name.
const MODULE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE script:module PUBLIC "-//OpenOffice.org//DTD OfficeDocument 1.0//EN" "module.dtd">
<script:module xmlns:script="http://openoffice.org/2000/script" script:name="Module1" script:language="StarBasic">
Sub Append(url As String, text As String)
  Dim none()
  document = StarDesktop.loadComponentFromURL(url, "_blank", 0, none)
  body = document.getText()
  body.insertString(body.getEnd(), text, False)
  document.store()
  document.close(True)
End Sub
</script:module>
"#;

/// The real program: converts documents of the drive into the drive, and saves one in place, twice.
/// How many versions that makes is not checked: the real program's dance is not followed yet.
#[test]
fn libreoffice() {
    if !have("apps::libreoffice", &["soffice", "bash"]) {
        return;
    }
    let Some(world) = World::mounted("apps::libreoffice") else { return };
    let profile = world.path("profile");
    let office = format!(
        "office() {{ timeout 120 soffice -env:UserInstallation=file://{} --headless \"$@\" 2>> ../../said; }}",
        profile.display()
    );
    tool(
        &world.a.root(),
        &format!(
            "{office}
            printf 'one\\n' > text.txt
            office --convert-to odt text.txt > /dev/null && office --convert-to pdf text.odt > /dev/null
            test \"$(head -c 5 text.pdf)\" = %PDF- && office --cat text.odt | grep -q one"
        ),
    );
    fs::write(profile.join("user/basic/Standard/Module1.xba"), MODULE).unwrap();
    for text in ["two", "three"] {
        world.a.sync();
        tool(
            &world.a.root(),
            &format!(
                "{office}\noffice \"macro:///Standard.Module1.Append(file://$PWD/text.odt,{text})\""
            ),
        );
    }
    let check =
        format!("{office}\noffice --cat text.odt | grep -q onetwothree\ntest $(ls -A | wc -l) = 3");
    tool(&world.a.root(), &check);
    world.a.sync();
    assert_eq!(world.a.figure("conflicts"), 0);
    let b = comes_back_everywhere(&world);
    tool(&b.root(), &check);
}
